// Package login reads the files of credentials that "docker login" and
// "podman login" write.
//
// A login cannot be printed, not even as a part of something else, and no
// error says what is in the file. A file that everybody may read is refused.
package login

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/google/go-containerregistry/pkg/authn"

	"holdfast/internal/input"
)

// A Login is what a registry knows somebody by. The zero value is nobody's.
type Login struct{ config *authn.AuthConfig } // a pointer is printed as an address

// LogValue implements slog.LogValuer.
func (Login) LogValue() slog.Value { return slog.StringValue("(login)") }

// String implements fmt.Stringer.
func (Login) String() string { return "(login)" }

// Authenticator is for the client library.
func (l Login) Authenticator() authn.Authenticator {
	if l.config == nil {
		return authn.Anonymous
	}
	return authn.FromConfig(*l.config)
}

// A File has logins by the names of registries. It is a keychain for the
// client library.
type File struct {
	path  string
	auths map[string]json.RawMessage
}

// Open reads a file.
func Open(path string) (*File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("%s: everybody on this machine may read it; chmod 600", path)
	}
	b, err := input.ReadFile(path, input.Secret)
	if err != nil {
		return nil, err
	}
	f, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f.path = path
	return f, nil
}

func parse(b []byte) (*File, error) {
	var file struct {
		Auths map[string]json.RawMessage `json:"auths"`
	}
	if err := json.Unmarshal(b, &file); err != nil || file.Auths == nil {
		return nil, errors.New(`want the JSON that "docker login" writes, with "auths" in it`)
	}
	return &File{auths: file.Auths}, nil
}

// Find gives the login of the first of a registry's names that the file has.
func (f *File) Find(names ...string) (l Login, ok bool, err error) {
	if slices.Contains(names, "docker.io") {
		names = append(slices.Clone(names), "index.docker.io") // as "docker login" calls it
	}
	for _, name := range names {
		for _, key := range []string{name, "https://" + name, "https://" + name + "/v1/", "https://" + name + "/v2/"} {
			if raw, ok := f.auths[key]; ok {
				l, err := read(raw)
				if err != nil {
					return Login{}, false, fmt.Errorf("%s: the entry of %s holds no login", f.path, key)
				}
				return l, true, nil
			}
		}
	}
	return Login{}, false, nil
}

func read(raw []byte) (Login, error) {
	var config authn.AuthConfig
	if err := json.Unmarshal(raw, &config); err != nil {
		return Login{}, err
	}
	if config == (authn.AuthConfig{}) {
		return Login{}, errors.New("empty")
	}
	return Login{&config}, nil
}

// Resolve is authn.Keychain's: nobody, where the file has no login.
func (f *File) Resolve(of authn.Resource) (authn.Authenticator, error) {
	l, _, err := f.Find(of.RegistryStr())
	return l.Authenticator(), err
}
