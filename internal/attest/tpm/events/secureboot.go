package events

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
)

// A Signer admitted a program: an entry of a variable.
type Signer struct {
	Variable    string       `json:"variable"`              // db, or a shim's MokList and the like
	Certificate *Certificate `json:"certificate,omitempty"` // absent for a hash, and for a shim's own notes
	Digest      string       `json:"digest"`                // that was measured
	Before      bool         `json:"before_separator,omitempty"`
}

// A secureBoot is what PCR 7 says (profile, 3.3.4.8): variables, a separator,
// and the entries of variables that admitted programs.
type secureBoot struct {
	Enabled   bool
	Keys      map[string]Keys // PK, KEK, db, dbx …
	Signers   []Signer
	DMAOpen   bool // firmware says that protection from devices is off
	separated bool
	banks     []tpm.Bank
}

// readSecureBoot is strict: what does not follow the profile may be a forgery
// that replays. Nil when the records do not tell.
func readSecureBoot(records []Record, banks []tpm.Bank) (*secureBoot, error) {
	if !slices.ContainsFunc(records, func(r Record) bool { return r.PCR == secureBootPCR }) {
		return nil, nil
	}
	s := &secureBoot{Keys: map[string]Keys{}, banks: banks}
	for i := range records {
		if r := &records[i]; r.PCR == secureBootPCR {
			if err := s.read(r); err != nil {
				return nil, &attest.SecureBootError{Err: err}
			}
		}
	}
	if err := s.whole(); err != nil {
		return nil, &attest.SecureBootError{Err: err}
	}
	return s, nil
}

func (s *secureBoot) read(r *Record) error {
	switch r.Type {
	case Separator:
		switch {
		case s.separated:
			return errors.New("duplicate separator")
		case !bytes.Equal(r.Data, make([]byte, 4)) || !r.Of(r.Data, s.banks):
			return errors.New("the separator is not that of a good boot")
		}
		s.separated = true
		return nil
	case EFIAction:
		return s.action(r)
	case EFIVariableDriverConfig:
		return s.variable(r)
	case EFIVariableAuthority:
		return s.authority(r)
	}
	return fmt.Errorf("unexpected event %v in PCR %d", r.Type, secureBootPCR)
}

// action knows the two strings that firmware measures here.
func (s *secureBoot) action(r *Record) error {
	switch text := string(bytes.TrimRight(r.Data, "\x00")); {
	case text == "UEFI Debug Mode":
		return errors.New("a UEFI debugger was present during boot")
	case text != "DMA Protection Disabled" || !r.Of(r.Data, s.banks):
		return fmt.Errorf("unexpected action %.40q", text)
	}
	s.DMAOpen = true
	return nil
}

func (s *secureBoot) variable(r *Record) error {
	v, rest, err := ReadVariable(r.Data)
	if err != nil || len(rest) > 0 {
		return errors.New("a variable cannot be read")
	}
	_, before := s.Keys[v.Name]
	switch {
	case before:
		return fmt.Errorf("variable %.40q twice", v.Name)
	case s.separated:
		return fmt.Errorf("variable %.40q after the separator", v.Name)
	case !r.Of(r.Data, s.banks):
		return fmt.Errorf("the digest is not that of variable %.40q", v.Name)
	}
	s.Keys[v.Name] = Keys{}
	switch v.Name {
	case "SecureBoot":
		if len(v.Data) > 1 || len(v.Data) == 1 && v.Data[0] > 1 {
			return errors.New("SecureBoot is neither 0 nor 1")
		}
		s.Enabled = len(v.Data) == 1 && v.Data[0] == 1 // firmware without it has it empty
	case "PK", "KEK", "db", "dbx":
		keys, err := readKeys(v.Data)
		if err != nil {
			return fmt.Errorf("variable %s: %w", v.Name, err)
		}
		s.Keys[v.Name] = keys
	}
	return nil
}

// authority reads an entry of a variable, whose certificate follows its
// owner's GUID; shims before 15.3 forgot the GUID, and measured one byte less
// than they logged.
func (s *secureBoot) authority(r *Record) error {
	v, _, err := ReadVariable(r.Data)
	if err != nil {
		return errors.New("the entry of a variable cannot be read")
	}
	data := r.Data
	if !r.Of(data, s.banks) {
		data = data[:len(data)-1]
	}
	if !r.Of(data, s.banks) {
		return fmt.Errorf("the digest is not that of the entry of %.40q", v.Name)
	}
	signer := Signer{Variable: v.Name, Digest: r.hex(), Before: !s.separated}
	for _, der := range [][]byte{v.Data[min(16, len(v.Data)):], v.Data} {
		if cert, err := certificate(der); err == nil {
			signer.Certificate = &cert
			break
		}
	}
	s.Signers = append(s.Signers, signer)
	return nil
}

// whole says what an enabled Secure Boot would have had.
func (s *secureBoot) whole() error {
	if !s.Enabled {
		return nil
	}
	if len(s.Signers) == 0 {
		return errors.New("secure boot was enabled but no key was used")
	}
	for _, name := range []string{"PK", "KEK", "db"} {
		if s.Keys[name].empty() {
			return fmt.Errorf("secure boot was enabled but %s has no key", name)
		}
	}
	return nil
}
