package wiring

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/oci"
	"holdfast/internal/proof"
)

// maxReleases is how many of the latest releases are looked at.
const maxReleases = 50

func when(e api.AuditEntry) string { return e.Time.UTC().Format(time.RFC3339) }

// secret is a resource: who stored it, who may have it, and who got it.
func (s *search) secret(ctx context.Context, path string) (*Link, error) {
	l := &Link{Kind: "secret", Name: path}
	known := false
	for _, e := range s.audit {
		if e.Resource != path || e.Decision != api.AuditAllow {
			continue
		}
		switch e.Action {
		case "set-resource":
			known, l.Problem, l.Text = true, "", fmt.Sprintf("stored %s by %s", when(e), e.Actor)
		case "delete-resource":
			l.Text = fmt.Sprintf("deleted %s by %s", when(e), e.Actor)
		}
	}
	absent, err := firstAbsent(ctx, s.broker, []string{path})
	if err != nil {
		return nil, err
	}
	if !known && absent != "" {
		return nil, &NothingError{path}
	}
	if !known {
		l.Text = "never leaves the broker's HSM"
	}
	l.add(s.policy(ctx, "resource"))
	configurations, err := s.broker.Configurations(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range configurations {
		if slices.Contains(c.Resources, path) {
			l.add(s.configuration(c.Digest, c.Resources).add(s.policy(ctx, "attestation")))
		}
	}
	// A plugin's path ends in what it is the use of: a key, or a certificate's name.
	return l.add(s.releases(ctx, func(p *Link) bool { return p.Name == path || strings.HasSuffix(p.Name, "/"+path) })...), nil
}

// policy is the one in force.
func (s *search) policy(ctx context.Context, kind string) *Link {
	l := &Link{Kind: "policy", Name: kind, Text: "as shipped with this program"}
	p, err := s.broker.Policy(ctx, kind)
	if err != nil {
		l.Text, l.Problem = "", err.Error()
		return l
	}
	l.Digest, l.Problem = string(oci.SHA256([]byte(p.Policy))), p.Error
	if p.Version == 0 {
		return l
	}
	l.Text = fmt.Sprintf("version %d", p.Version)
	history, err := s.broker.PolicyHistory(ctx, kind)
	if err != nil {
		l.Problem = err.Error()
	}
	for _, v := range history {
		if v.Number == p.Version {
			l.Text += fmt.Sprintf(", set %s by %s", v.Time.UTC().Format(time.RFC3339), v.Actor)
		}
	}
	return l
}

// configuration is one that was authorised, and by whom.
func (s *search) configuration(digest string, resources []string) *Link {
	l := &Link{Kind: "configuration", Name: strings.Join(resources, ", "), Digest: digest, Text: "nobody authorised it"}
	for _, e := range s.audit {
		if e.Subject != digest || e.Decision != api.AuditAllow {
			continue
		}
		switch e.Action {
		case "authorise-configuration":
			l.Text = fmt.Sprintf("authorised %s by %s", when(e), e.Actor)
			l.Name = strings.Join(e.Resources, ", ")
		case "withdraw-configuration":
			l.Text += fmt.Sprintf(", withdrawn %s by %s", when(e), e.Actor)
		}
	}
	return l
}

// releases are the latest that match, the oldest first, each with what its proof
// says once it was checked.
func (s *search) releases(ctx context.Context, match func(*Link) bool) []*Link {
	var list []*Link
	for _, e := range slices.Backward(s.audit) {
		if e.Decision != api.AuditAllow || e.Session == "" || e.Action != "get-resource" && e.Action != "call-plugin" {
			continue
		}
		if l := s.release(ctx, e); match(l) {
			list = append(list, l)
		}
		if len(list) == maxReleases {
			break
		}
	}
	slices.Reverse(list)
	return list
}

func (s *search) release(ctx context.Context, e api.AuditEntry) *Link {
	l := &Link{Kind: "release", Name: e.Resource, Text: when(e) + ", session " + e.Session}
	if e.Proof == "" {
		l.Text += ", no proof was written"
		return l.add(&Link{Kind: "configuration", Digest: e.InitData})
	}
	raw, err := s.broker.Proof(ctx, e.Proof)
	if err != nil {
		l.Text += ", proof " + e.Proof + " is not kept any more"
		return l.add(&Link{Kind: "configuration", Digest: e.InitData})
	}
	return l.add(s.proof(ctx, e.Proof, raw))
}

// proof is a release's evidence, judged again.
func (s *search) proof(ctx context.Context, id string, raw []byte) *Link {
	l := &Link{Kind: "proof", Name: id}
	r, err := proof.Verify(ctx, raw, s.reader)
	if err != nil {
		l.Problem = err.Error()
		return l
	}
	l.Text = "verified"
	if !r.Verified {
		l.Text, l.Problem = "", "not verified"
		for _, f := range r.Failures() {
			l.Problem += fmt.Sprintf("; %s: %s", f.Name, f.Text)
		}
	}
	rel := r.Release
	_, workload, _ := strings.Cut(rel.Workload, "@")
	return l.add(
		&Link{Kind: "workload", Name: rel.Workload, Digest: workload},
		s.configuration(rel.Configuration, nil),
		&Link{Kind: "machine image", Name: rel.Image, Digest: rel.UKI, Text: "root hash " + rel.RootHash},
		&Link{Kind: "TPM", Name: strings.TrimSpace(rel.TPM["manufacturer"] + " " + rel.TPM["model"]), Digest: "sha256:" + rel.Endorsement, Text: "endorsement certificate"},
		&Link{Kind: "key", Name: "broker", Digest: rel.BrokerKey, Text: "signed the proof"},
	)
}

// mentions says whether a digest is anywhere in a tree.
func mentions(l *Link, digest string) bool {
	return l.Digest == digest || slices.ContainsFunc(l.Links, func(below *Link) bool { return mentions(below, digest) })
}

// byDigest finds what was released to whatever has this digest: a
// configuration, a workload, a machine image or a TPM.
func (s *search) byDigest(ctx context.Context, digest string) (*Link, error) {
	l := &Link{Kind: "digest", Name: digest, Digest: digest}
	if c := s.configuration(digest, nil); c.Text != "nobody authorised it" {
		l.add(c)
	}
	l.add(s.releases(ctx, func(p *Link) bool { return mentions(p, digest) })...)
	if len(l.Links) == 0 {
		return nil, &NothingError{digest}
	}
	return l, nil
}

// run is a run that is remembered: what it was to be, and what it got.
func (s *search) run(ctx context.Context, name string) (*Link, error) {
	r, err := s.Installation.Remembered(name)
	if err != nil {
		return nil, err
	}
	l := &Link{Kind: "run", Name: name, Text: or(r.Outcome, "under way, or killed")}
	guest, err := s.machineImage(ctx, r.Machine.Folder)
	if err != nil || guest.Digest != r.Machine.UKI {
		guest = &Link{Kind: "machine image", Name: r.Machine.Image, Digest: r.Machine.UKI, Text: "is not in " + r.Machine.Folder + " any more"}
	}
	guest.Links = slices.DeleteFunc(guest.Links, func(below *Link) bool { return below.Kind == "release" })
	workload := &Link{Kind: "image", Name: r.Workload.Image, Digest: r.Workload.Digest}
	for _, kid := range r.Workload.Keys {
		workload.add(&Link{Kind: "secret", Name: strings.TrimPrefix(kid, kbsScheme), Text: "opens its layers"})
	}
	l.add(guest, workload, s.configuration(r.Configuration, r.Resources))
	return l.add(s.releases(ctx, func(p *Link) bool { return mentions(p, r.Configuration) })...), nil
}
