package cosign

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
)

// The types of requirements.
const (
	acceptAnything = "insecureAcceptAnything"
	reject         = "reject"
	sigstoreSigned = "sigstoreSigned"
	signedBy       = "signedBy" // by OpenPGP; never fulfilled here
)

// A Requirement is one of those that an image must all fulfil.
type Requirement struct {
	Type     string    `json:"type"`
	KeyDatas [][]byte  `json:"keyDatas,omitempty"` // public keys in PEM form, of which one must have signed
	Identity *Identity `json:"signedIdentity,omitempty"`
	keys     []Key
}

func parseRequirements(raw []byte, read func(string) ([]byte, error), into *[]Requirement) error {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil || len(list) == 0 {
		return errors.New("want a list of one requirement at least")
	}
	for i, one := range list {
		r, err := parseRequirement(one, read)
		if err != nil {
			return fmt.Errorf("requirement %d: %w", i+1, err)
		}
		*into = append(*into, r)
	}
	return nil
}

func parseRequirement(raw []byte, read func(string) ([]byte, error)) (Requirement, error) {
	var r Requirement
	var keys keySource
	err := fields(raw, func(name string, value json.RawMessage) error {
		switch name {
		case "type":
			return word(value, &r.Type)
		case "signedIdentity":
			r.Identity = &Identity{}
			return parseIdentity(value, r.Identity)
		case "keyPath", "keyPaths", "keyData", "keyDatas", "keyType":
			return keys.take(name, value)
		case "fulcio", "pki", "rekorPublicKeyPath", "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas":
			return errors.New("certificates and transparency logs are not judged here: want a key")
		}
		return errUnknown
	})
	if err != nil {
		return r, err
	}
	return r, r.finish(keys, read)
}

// finish holds the fields against the type.
func (r *Requirement) finish(from keySource, read func(string) ([]byte, error)) error {
	switch r.Type {
	case acceptAnything, reject:
		if from.used != 0 || from.kind != "" || r.Identity != nil {
			return fmt.Errorf("%s takes no other field", r.Type)
		}
		return nil
	case signedBy: // kept for other scopes' sake: its keys are OpenPGP's
		r.KeyDatas = nil
		return nil
	case sigstoreSigned:
		if from.kind != "" {
			return errors.New(`field "keyType": not known`)
		}
	default:
		return fmt.Errorf("type %.80q: want %s, %s or %s", r.Type, acceptAnything, reject, sigstoreSigned)
	}
	var err error
	if r.KeyDatas, err = from.read(read); err != nil {
		return err
	}
	for _, data := range r.KeyDatas {
		list, err := ParseKeys(data)
		if err == nil && len(list) > 1 {
			err = fmt.Errorf("%d keys at once: want one", len(list))
		}
		if err != nil {
			return fmt.Errorf("key: %w", err)
		}
		r.keys = append(r.keys, list...)
	}
	return nil
}

// Rejects says whether no image can fulfil all.
func Rejects(all []Requirement) bool {
	return slices.ContainsFunc(all, func(r Requirement) bool { return r.Type == reject || r.Type == signedBy })
}

// Settles says whether the bytes that a name stands for are anybody's word but
// the registry's: those of a digest are, and those of a tag when the policy
// wants a signature of them.
func (p *Policy) Settles(n Name) error {
	all, _, _ := p.For(Subject{Transport: Docker, Name: n})
	wants := slices.ContainsFunc(all, func(r Requirement) bool { return r.Type != acceptAnything })
	if n.Digest == "" && !wants {
		return fmt.Errorf("image %.200q: its policy takes anything: want @sha256:<64 hex digits>, or one that wants it signed", n)
	}
	return nil
}

// A keySource is where a requirement has its keys: one of the four ways.
type keySource struct {
	used  int
	kind  string // keyType
	paths []string
	datas [][]byte
}

func (k *keySource) take(name string, value json.RawMessage) error {
	k.used++
	var path string
	var data []byte
	switch name {
	case "keyType":
		k.used--
		return word(value, &k.kind)
	case "keyPath":
		err := word(value, &path)
		k.paths = []string{path}
		return err
	case "keyPaths":
		return list(value, &k.paths)
	case "keyData":
		err := list(value, &data)
		k.datas = [][]byte{data}
		return err
	}
	return list(value, &k.datas)
}

func (k *keySource) read(read func(string) ([]byte, error)) ([][]byte, error) {
	if k.used != 1 {
		return nil, errors.New("want exactly one of keyPath, keyPaths, keyData and keyDatas")
	}
	for _, path := range k.paths {
		if read == nil {
			return nil, fmt.Errorf("key file %.200q: there are none here: want keyData", path)
		}
		if !filepath.IsAbs(path) {
			return nil, fmt.Errorf("key file %.200q: want an absolute path", path)
		}
		data, err := read(path)
		if err != nil {
			return nil, err
		}
		k.datas = append(k.datas, data)
	}
	if len(k.datas) == 0 {
		return nil, errors.New("want one key at least")
	}
	return k.datas, nil
}
