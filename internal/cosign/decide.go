package cosign

import (
	"context"
	"errors"
	"fmt"
)

// ErrRefused is what a Decision's error wraps.
var ErrRefused = errors.New("refused by policy")

// A Decision is what a policy says of an image, and by which of its words.
type Decision struct {
	Allowed      bool     `json:"allowed"`
	Image        string   `json:"image"`
	Transport    string   `json:"transport,omitempty"`
	Scope        string   `json:"scope"` // empty: of the transport, or of the policy when that is empty too
	Requirements []Judged `json:"requirements"`
}

// A Judged requirement.
type Judged struct {
	Type      string `json:"type"`
	Fulfilled bool   `json:"fulfilled"`
	Reason    string `json:"reason"`
	Key       string `json:"key,omitempty"`  // id of the key that signed
	Name      string `json:"name,omitempty"` // of the image, as was signed
}

// Decide holds an image in a repository against the policy. It looks for
// signatures only if the policy wants one.
func (p *Policy) Decide(ctx context.Context, s Subject, in Repository) (Decision, error) {
	all, transport, scope := p.For(s)
	d := Decision{Allowed: true, Image: s.String(), Transport: transport, Scope: scope}
	var found *Found
	for _, r := range all {
		if r.Type == sigstoreSigned && found == nil {
			f, err := Find(ctx, in, s.Digest)
			if err != nil {
				return Decision{}, fmt.Errorf("signatures of %s: %w", s, err)
			}
			found = &f
		}
		j := r.judge(s, found)
		d.Allowed = d.Allowed && j.Fulfilled
		d.Requirements = append(d.Requirements, j)
	}
	return d, nil
}

// Err is nil when the image is allowed, and says in a line why not.
func (d Decision) Err() error {
	if d.Allowed {
		return nil
	}
	for _, j := range d.Requirements {
		switch {
		case j.Fulfilled:
		case j.Type == reject:
			return fmt.Errorf("%w: %s rejects %s", ErrRefused, d.Place(), d.Image)
		default:
			return fmt.Errorf("%w: %s wants %s of %s: %s", ErrRefused, d.Place(), j.Type, d.Image, j.Reason)
		}
	}
	return ErrRefused
}

// Place says where in the policy the requirements stand.
func (d Decision) Place() string {
	switch {
	case d.Transport == "":
		return "the default"
	case d.Scope == "":
		return "the default of " + d.Transport
	}
	return "scope " + d.Scope
}

func (r Requirement) judge(s Subject, found *Found) Judged {
	j := Judged{Type: r.Type}
	switch r.Type {
	case acceptAnything:
		j.Fulfilled, j.Reason = true, "anything is accepted"
	case reject:
		j.Reason = "everything is rejected"
	case signedBy:
		j.Reason = "signatures of OpenPGP are not judged here"
	default:
		r.judgeSigned(&j, s, found)
	}
	return j
}

// judgeSigned looks for one signature that is good in all respects; of the
// others it keeps the reason of the one that came nearest.
func (r Requirement) judgeSigned(j *Judged, s Subject, found *Found) {
	nearest := ErrUnsigned
	rank := 0
	for _, signature := range found.Signatures {
		key, err := signature.Check(s.Digest, r.keys)
		at := 3
		switch {
		case errors.Is(err, ErrKey):
			at = 1
		case errors.Is(err, ErrImage):
			at = 2
		default:
			err = r.Identity.match(s, signature.Name)
		}
		if err == nil {
			j.Fulfilled, j.Key, j.Name = true, key.ID(), signature.Name
			j.Reason = "signed by key " + key.ID()[:12]
			return
		}
		if at > rank {
			rank, nearest = at, err
		}
	}
	switch n := len(found.Signatures); n {
	case 0:
		j.Reason = nearest.Error()
	case 1:
		j.Reason = "its one signature is not good: " + nearest.Error()
	default:
		j.Reason = fmt.Sprintf("none of its %d signatures is good; the nearest: %s", n, nearest)
	}
	if n := len(found.Unread); n > 0 {
		j.Reason += fmt.Sprintf("; %d could not be read, the first: %s", n, found.Unread[0])
	}
}
