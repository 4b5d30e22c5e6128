package attack

import (
	"context"
	"errors"
	"fmt"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/oci"
)

// honest shows that the broker gives a machine what it may have.
var honest = Control{Name: "an honest machine is given its key", Run: honestMachine}

func honestMachine(ctx context.Context, l *Lab) error {
	s, err := l.site(ctx)
	if err != nil {
		return err
	}
	g, err := s.honest(ctx)
	if err != nil {
		return err
	}
	defer g.Close()
	value, err := g.fetch(ctx, ownKey)
	if err != nil || string(value) != ownValue {
		return errors.Join(fmt.Errorf("it was given %q", value), err)
	}
	return s.recorded(ctx, string(oci.SHA256(g.document)))
}

// recorded wants the honest machine's proof and its key in the broker's log.
func (s *site) recorded(ctx context.Context, configuration string) error {
	log, err := s.audit(ctx)
	if err != nil || len(log) < 2 {
		return errors.Join(fmt.Errorf("the broker recorded %d decisions", len(log)), err)
	}
	proof, release := log[len(log)-2], log[len(log)-1]
	switch {
	case release.Decision != api.AuditAllow || release.Resource != ownKey || release.Session != proof.Session:
		return fmt.Errorf("the broker recorded %+v of its key", release)
	case proof.Decision != api.AuditAllow || proof.InitData != configuration || proof.Claims == nil ||
		proof.Claims.EK == "" || proof.Claims.PCRs["11"] != extended(ukiMeasured):
		return fmt.Errorf("the broker recorded %+v of its proof", proof)
	}
	return nil
}

// honest boots a machine that may have its key.
func (s *site) honest(ctx context.Context, also ...measurement) (*suspect, error) {
	document, err := s.own(ctx)
	if err != nil {
		return nil, err
	}
	return s.boot(ctx, start{document: document, extra: also})
}

// own is the configuration of the honest machine.
func (s *site) own(ctx context.Context) ([]byte, error) { return s.authorised(ctx, "own", ownKey) }

// A lie makes a suspect out of a site.
type lie func(ctx context.Context, s *site) (*suspect, error)

// lying is an attack by a machine that asks for the key that an honest one
// would be given. It must not come as far as asking.
func lying(name, promise, change, reason string, tell lie) Attack {
	return lyingUntil(proving, name, promise, change, reason, tell)
}

// lyingUntil is one that the broker refuses in a decision of some kind.
func lyingUntil(kinds []string, name, promise, change, reason string, tell lie) Attack {
	return Attack{Name: name, Promise: promise, Change: change, Want: Refusal{Broker, reason}, Control: honest,
		Run: func(ctx context.Context, l *Lab) (Refusal, error) {
			s, err := l.site(ctx)
			if err != nil {
				return Refusal{}, err
			}
			g, err := tell(ctx, s)
			if err != nil {
				return Refusal{}, err
			}
			defer g.Close()
			return s.decided(ctx, kinds, func() ([]byte, error) { return g.fetch(ctx, ownKey) })
		}}
}

// in puts attacks into a group.
func in(group string, attacks ...Attack) []Attack {
	for i := range attacks {
		attacks[i].Group = group
	}
	return attacks
}

// What evidence promises.
const (
	oneKey  = "the attestation key is in a TPM of a trusted maker, and in no other place"
	oneTalk = "evidence is for one handshake"
	allPCRs = "a machine shows all that it measured, as its TPM has it"
)

func evidenceAttacks() []Attack {
	return in("evidence",
		lying("self-made-key", oneKey, "a key in software signs a TPM's quote again, and says that it is in that TPM",
			attest.ErrSigner.Error(), selfMadeKey),
		lying("self-made-quote", oneKey, "a key in software makes up the whole quote, as a TPM with it would",
			attest.ErrActivation.Error(), selfMadeQuote),
		lying("other-tpms-key", oneKey, "a machine offers a good TPM's keys, and shows evidence of another TPM",
			attest.ErrAttestationKey.Error(), relayed),
		lying("mixed-keys", oneKey, "a machine shows a good TPM's endorsement, and a key of its own TPM",
			attest.ErrActivation.Error(), mixedKeys),
		lying("foreign-maker", oneKey, "the machine has a TPM by a maker whom nobody trusts",
			attest.ErrEndorsement.Error(), foreignMaker),
		lying("unrestricted-key", oneKey, "the key is in the TPM, but would sign a quote that software made up",
			attest.ErrKeyAttributes.Error(), unrestrictedKey),
		lying("replayed-quote", oneTalk, "the machine answers the challenge, but shows a quote of before it was broken into",
			attest.ErrReplay.Error(), replaying),
		lying("another-nonce", oneTalk, "the message has another nonce than the broker's",
			"the nonce is not the one of this session's challenge", anotherNonce),
		lying("another-ephemeral-key", oneTalk, "somebody on the way puts a key of his own in place of the machine's",
			attest.ErrNonce.Error(), anotherEphemeralKey),
		lying("answered-twice", oneTalk, "somebody on the way sends the machine's evidence once more, on the same session",
			"the session's nonce was answered before", answeredTwice),
		lying("pcr-extended-again", allPCRs, "something is measured into PCR 11 after the boot",
			"PCR 11 is", extendedAgain(11)),
		lying("secure-boot-keys", allPCRs, "firmware has another Secure Boot key beside ours, in PCR 7",
			"PCR 7 is", extendedAgain(7)),
		lying("planted-credential", allPCRs, "a credential or command line that the stub was handed moves PCR 12",
			"PCR 12 is", extendedAgain(12)),
		lying("altered-pcr", allPCRs, "PCR 12 is not zero; the message says that it is",
			attest.ErrPCRDigest.Error(), alteredPCR),
		lying("pcr-selection", allPCRs, "the TPM is asked for a quote that leaves out PCRs 12 and 13",
			attest.ErrPCRSelection.Error(), otherSelection),
		lying("event-log", allPCRs, "the event log tells of another measurement than was made",
			attest.ErrEventLog.Error(), alteredLog),
	)
}
