package wiring

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"holdfast/internal/atomicfile"
	"holdfast/internal/hsm"
	"holdfast/internal/input"
)

// signing is the HSM as authorities use it.
type signing struct{ client *hsm.Client }

func (s signing) Generate(ctx context.Context, label string) error {
	return s.client.Generate(ctx, label, hsm.P256)
}

func (s signing) Signer(ctx context.Context, label string) (crypto.Signer, error) {
	return s.client.Key(ctx, label)
}

// An HSM is how an installation reaches its own: keys/hsm.json.
type HSM struct {
	Program string `json:"program"`  // holdfast-pkcs11
	Module  string `json:"module"`   // the vendor's library
	Token   string `json:"token"`    // label
	PINFile string `json:"pin_file"` // only the program reads it
}

const hsmName = "hsm.json"

func (i Installation) hsmFile() string { return filepath.Join(i.Keys(), hsmName) }

// openHSM is nil when there is none. Nothing is started yet.
func (i Installation) openHSM(log *slog.Logger) (*hsm.Client, error) {
	raw, err := input.ReadFile(i.hsmFile(), input.Key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var h HSM
	if err := json.Unmarshal(raw, &h); err != nil {
		return nil, fmt.Errorf("%s: %w", i.hsmFile(), err)
	}
	return h.client(log)
}

func (h HSM) client(log *slog.Logger) (*hsm.Client, error) {
	return hsm.New(hsm.Config{Program: h.Program, Module: h.Module, Token: h.Token, PINFile: h.PINFile, Log: log})
}

// UseHSM makes an HSM the installation's, once it has answered.
func (i Installation) UseHSM(ctx context.Context, h HSM) ([]hsm.Info, error) {
	if h.Program == "" {
		own, err := os.Executable()
		if err != nil {
			return nil, err
		}
		h.Program = filepath.Join(filepath.Dir(own), "holdfast-pkcs11")
	}
	for _, path := range []*string{&h.Program, &h.Module, &h.PINFile} {
		abs, err := filepath.Abs(*path)
		if err != nil {
			return nil, err
		}
		*path = abs
	}
	client, err := h.client(nil)
	if err != nil {
		return nil, err
	}
	keys, err := client.List(ctx, "")
	if err := errors.Join(err, client.Close()); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	return keys, atomicfile.WriteFile(i.hsmFile(), append(raw, '\n'), 0o600)
}
