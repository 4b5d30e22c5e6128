package attack

import (
	"context"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/oci"
)

// What configurations promise.
const (
	approved = "a machine gets something only under a configuration that an administrator authorised"
	measured = "a machine's configuration is measured, alone, before it is used"
)

func documentAttacks() []Attack {
	return in("configuration",
		lying("configuration-unauthorised", approved, "the machine is started under a configuration that asks for something else",
			"is not authorised", func(ctx context.Context, s *site) (*suspect, error) {
				document, err := s.document("changed")
				if err != nil {
					return nil, err
				}
				return s.boot(ctx, start{document: document})
			}),
		lying("configuration-withdrawn", approved, "the administrator withdraws the configuration; the machine goes on asking",
			"is not authorised", withdrawn),
		lyingUntil(getting, "configuration-withdrawn-late", approved, "the configuration is withdrawn after the machine proved itself, and before it asks for its key",
			"is not authorised any more", withdrawnLate),
		lying("configuration-swapped", measured, "the machine measures one configuration, and says that it has the authorised one",
			attest.ErrInitData.Error(), func(ctx context.Context, s *site) (*suspect, error) {
				return s.showing(ctx, "swapped", nil)
			}),
		lying("configuration-measured-twice", measured, "a second configuration is measured after the authorised one",
			attest.ErrInitData.Error(), func(ctx context.Context, s *site) (*suspect, error) {
				return s.honest(ctx, measurement{8, "a second configuration"})
			}),
		lying("configuration-withheld", measured, "the machine does not tell the broker which configuration it has",
			"the machine sent no init-data document", func(ctx context.Context, s *site) (*suspect, error) {
				return s.showing(ctx, "withheld", func(a *api.KBSAttestation) error { a.InitData = nil; return nil })
			}),
	)
}

// showing boots a machine under a configuration that nobody authorised, which
// says that it has the authorised one, or whatever change makes of that.
func (s *site) showing(ctx context.Context, name string, change func(*api.KBSAttestation) error) (*suspect, error) {
	good, err := s.own(ctx)
	if err != nil {
		return nil, err
	}
	document, err := s.document(name)
	if err != nil {
		return nil, err
	}
	g, err := s.boot(ctx, start{document: document})
	if err != nil {
		return nil, err
	}
	g.document = good
	if change != nil {
		g.wire = attestation(change)
	}
	return g, nil
}

func withdrawn(ctx context.Context, s *site) (*suspect, error) {
	document, err := s.authorised(ctx, "removed", ownKey)
	if err != nil {
		return nil, err
	}
	if err := s.admin.Withdraw(ctx, string(oci.SHA256(document))); err != nil {
		return nil, err
	}
	return s.boot(ctx, start{document: document})
}

func withdrawnLate(ctx context.Context, s *site) (*suspect, error) {
	document, err := s.authorised(ctx, "late", ownKey)
	if err != nil {
		return nil, err
	}
	g, err := s.boot(ctx, start{document: document})
	if err != nil {
		return nil, err
	}
	g.wire = beforeResource(func() error { return s.admin.Withdraw(ctx, string(oci.SHA256(document))) })
	return g, nil
}
