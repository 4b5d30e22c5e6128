package cosign

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// The types of identities. The last is Holdfast's own: the bundles that cosign
// makes give an image no name, and no other type could be fulfilled by them.
const (
	matchExact             = "matchExact"
	matchRepoDigestOrExact = "matchRepoDigestOrExact" // when none is given
	matchRepository        = "matchRepository"
	exactReference         = "exactReference"
	exactRepository        = "exactRepository"
	remapIdentity          = "remapIdentity"
	matchDigest            = "matchDigest"
)

// An Identity says which name a signature must give the image.
type Identity struct {
	Type         string `json:"type"`
	Reference    string `json:"dockerReference,omitempty"`
	Repository   string `json:"dockerRepository,omitempty"`
	Prefix       string `json:"prefix,omitempty"`
	SignedPrefix string `json:"signedPrefix,omitempty"`
}

func parseIdentity(raw []byte, i *Identity) error {
	err := fields(raw, func(name string, value json.RawMessage) error {
		switch name {
		case "type":
			return word(value, &i.Type)
		case "dockerReference":
			return word(value, &i.Reference)
		case "dockerRepository":
			return word(value, &i.Repository)
		case "prefix":
			return word(value, &i.Prefix)
		case "signedPrefix":
			return word(value, &i.SignedPrefix)
		}
		return errUnknown
	})
	if err != nil {
		return err
	}
	return i.check()
}

// check wants the fields of the type, and no others.
func (i *Identity) check() error {
	want := Identity{Type: i.Type}
	switch i.Type {
	case matchExact, matchRepoDigestOrExact, matchRepository, matchDigest:
	case exactReference:
		want.Reference = i.Reference
		if n, err := ParseName(i.Reference); err != nil || n.Tag == "" && n.Digest == "" {
			return errors.New(`field "dockerReference": want HOST[:PORT]/PATH:TAG`)
		}
	case exactRepository:
		want.Repository = i.Repository
		if n, err := ParseName(i.Repository); err != nil || n.String() != n.Repository {
			return errors.New(`field "dockerRepository": want HOST[:PORT]/PATH`)
		}
	case remapIdentity:
		want.Prefix, want.SignedPrefix = i.Prefix, i.SignedPrefix
		if !isPrefix(i.Prefix) || !isPrefix(i.SignedPrefix) {
			return errors.New(`fields "prefix" and "signedPrefix": want HOST[:PORT][/PATH]`)
		}
	default:
		return fmt.Errorf("type %.80q: not known", i.Type)
	}
	if *i != want {
		return fmt.Errorf("type %s takes no such field", i.Type)
	}
	return nil
}

func isPrefix(s string) bool {
	if hostForm.MatchString(s) {
		return true
	}
	n, err := ParseName(s)
	return err == nil && n.String() == n.Repository
}

// match says why the name that was signed is not the one wanted of s; nothing
// when it is.
func (i *Identity) match(s Subject, signed string) error {
	kind := matchRepoDigestOrExact
	if i != nil {
		kind = i.Type
	}
	if kind == matchDigest {
		return nil
	}
	if signed == "" {
		return fmt.Errorf("it gives the image no name, and %s wants one", kind)
	}
	by, err := ParseName(signed)
	if err != nil {
		return err
	}
	if s.Transport != Docker && kind != exactReference && kind != exactRepository {
		return fmt.Errorf("%s needs an image in a registry", kind)
	}
	if !i.matches(kind, s.Name, by) {
		return fmt.Errorf("it is of the name %s, and %s wants another", by, kind)
	}
	return nil
}

func (i *Identity) matches(kind string, image, by Name) bool {
	switch kind {
	case matchExact:
		return isFull(image) && isFull(by) && by == image
	case matchRepository:
		return by.Repository == image.Repository
	case exactReference:
		return by.String() == i.Reference
	case exactRepository:
		return by.Repository == i.Repository
	case remapIdentity:
		image.Repository = remap(image.Repository, i.Prefix, i.SignedPrefix)
	}
	return repoDigestOrExact(image, by)
}

func isFull(n Name) bool { return n.Tag != "" || n.Digest != "" }

// repoDigestOrExact lets a digest stand for any tag of its repository: which
// bytes are meant is clear then.
func repoDigestOrExact(image, by Name) bool {
	switch {
	case !isFull(by):
		return false
	case image.Digest != "":
		return by.Repository == image.Repository
	}
	return image.Tag != "" && by == image
}

func remap(repository, prefix, signed string) string {
	if repository == prefix || strings.HasPrefix(repository, prefix+"/") {
		return signed + strings.TrimPrefix(repository, prefix)
	}
	return repository
}
