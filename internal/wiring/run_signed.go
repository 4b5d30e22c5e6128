package wiring

import (
	"context"
	"errors"
	"fmt"

	"holdfast/internal/cosign"
	"holdfast/internal/image/transport"
)

// A place is where a run's registry has its image.
type place struct {
	name, tag string      // of the repository, and in it
	signed    cosign.Name // that a policy judges the image by; none without one
	policy    *cosign.Policy
}

// place says where the image of src goes. A policy judges it by its own name,
// so there it keeps that.
func (s *session) place(src transport.Ref) (place, error) {
	if s.Policy == "" {
		return place{name: "workload", tag: "run"}, nil
	}
	p, err := cosign.ParsePolicy([]byte(s.Policy), nil)
	if err != nil {
		return place{}, err
	}
	if s.As == "" && src.Kind != transport.Registry {
		return place{}, errors.New("a policy judges an image by its name in a registry: --as gives it one")
	}
	as := s.As
	if as == "" {
		as = src.Remote.Name()
	}
	n, err := cosign.ParseName(as)
	if err == nil && n.Tag == "" && n.Digest == "" {
		err = fmt.Errorf("image name %.200q: want a tag or a digest", as)
	}
	if err == nil {
		err = p.Settles(n)
	}
	return place{name: n.Path(), tag: or(n.Tag, "run"), signed: n, policy: p}, err
}

// bring has the image copied into the registry of this run. What a policy
// refuses is refused here already: a machine would do so half a minute later.
func (s *session) bring(ctx context.Context, src, dst transport.Ref, to place, o transport.Options) error {
	if to.policy == nil {
		_, err := transport.Copy(ctx, src, dst, o)
		return err
	}
	if _, err := transport.CopySigned(ctx, src, dst, o); err != nil {
		return err
	}
	var decision cosign.Decision
	_, err := transport.InRepository(ctx, dst, o, func(i transport.Subject, in cosign.Repository) (err error) {
		subject := cosign.Subject{Transport: cosign.Docker, Name: to.signed, Digest: i.Digest}
		if d := to.signed.Digest; d != "" && d != i.Digest {
			return fmt.Errorf("it is %s, and its name says %s", i.Digest, d)
		}
		decision, err = to.policy.Decide(ctx, subject, in)
		return err
	})
	if err != nil {
		return err
	}
	if err := decision.Err(); err != nil {
		return &UnsignedError{s.Image, err.Error()}
	}
	return nil
}

// reference is the image as the machine's configuration names it.
func (s *session) reference() string {
	w := s.workload
	if w.policy != nil {
		return w.signed.String()
	}
	return fmt.Sprintf("%s:%d/%s@%s", guestGateway, s.services.registry.port, w.name, w.image.Digest)
}

// seed tells one image's registry from another's. The versions that a tag may
// name share theirs: their configuration is the same.
func (w *workload) seed() string {
	if w.policy != nil {
		return w.signed.String()
	}
	return string(w.image.Digest)
}
