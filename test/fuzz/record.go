package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/atomicfile"
)

// An Account is what a target has done to its parser as it now is.
type Account struct {
	Parser     string  `json:"parser"` // Target.Hash of the code it speaks of
	Code       string  `json:"code,omitempty"`
	CPUSeconds float64 `json:"cpuSeconds"`
	Executions int64   `json:"executions"`
	Inputs     int     `json:"inputs"`             // that reached new code, committed or not
	Findings   int     `json:"findings,omitempty"` // against this parser
	Fixed      int     `json:"fixed,omitempty"`    // against earlier ones
	Covered    int     `json:"covered"`            // statements of the parser
	Statements int     `json:"statements"`
}

// A Record holds the account of each target, by its Key.
type Record map[string]*Account

func (c *config) recordPath() string { return filepath.Join(c.root, "test/fuzz/record.json") }

func (c *config) load() (Record, error) {
	r := Record{}
	raw, err := os.ReadFile(c.recordPath())
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	return r, json.Unmarshal(raw, &r)
}

// update changes the account of one target in the file. It reads the file
// anew, so that runs of different targets at once keep each other's figures.
func (c *config) update(t *Target, change func(*Account)) error {
	r, err := c.load()
	if err != nil {
		return err
	}
	a := r.of(t)
	change(a)
	r[t.Key()] = a
	return c.save(r)
}

func (c *config) save(r Record) error {
	raw, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(c.recordPath(), append(raw, '\n'), 0o644)
}

// of gives a target's account, a fresh one when its parser has changed.
func (r Record) of(t *Target) *Account {
	a := r[t.Key()]
	switch {
	case a == nil:
		return &Account{Parser: t.Hash}
	case a.Parser != t.Hash:
		return &Account{Parser: t.Hash, Fixed: a.Fixed + a.Findings}
	}
	return a
}

func (a *Account) spent() time.Duration { return time.Duration(a.CPUSeconds * float64(time.Second)) }
