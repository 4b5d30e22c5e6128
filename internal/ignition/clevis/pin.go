package clevis

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-tpm/tpm2"
)

// A pin is what clevis encrypt tpm2 takes, read and checked.
type pin struct {
	bank   string
	pcrs   []uint
	values []byte // of the PCRs, where they are given and not read
}

// parsePin reads the properties that clevis-encrypt-tpm2(1) lists. Other
// hashes and keys than its defaults are refused.
func parsePin(raw json.RawMessage) (pin, error) {
	var c struct {
		Hash   string          `json:"hash"`
		Key    string          `json:"key"`
		Bank   string          `json:"pcr_bank"`
		IDs    json.RawMessage `json:"pcr_ids"`
		Digest string          `json:"pcr_digest"`
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return pin{}, fmt.Errorf("pin tpm2: %w", err)
	}
	if c.Hash != "" && c.Hash != "sha256" || c.Key != "" && c.Key != "ecc" {
		return pin{}, fmt.Errorf("pin tpm2: hash %.20q and key %.20q, want sha256 and ecc", c.Hash, c.Key)
	}
	p := pin{bank: c.Bank}
	if p.bank == "" {
		p.bank = "sha1" // clevis' default
	}
	if _, err := p.algorithm(); err != nil {
		return p, err
	}
	ids, err := idsOf(c.IDs)
	if err != nil {
		return p, err
	}
	if p.pcrs, err = parseIDs(ids); err != nil {
		return p, err
	}
	if p.values, err = b64.DecodeString(strings.TrimRight(c.Digest, "=")); err != nil {
		err = fmt.Errorf("pin tpm2: pcr_digest: %w", err)
	}
	return p, err
}

// CheckPin refuses the configuration of a pin tpm2 that Seal would refuse.
func CheckPin(config json.RawMessage) error {
	_, err := parsePin(config)
	return err
}

// idsOf takes "0,7" and [0, 7] and ["0", "7"].
func idsOf(raw json.RawMessage) (string, error) {
	var text string
	var list []any
	switch {
	case len(raw) == 0 || json.Unmarshal(raw, &text) == nil:
		return text, nil
	case json.Unmarshal(raw, &list) != nil:
		return "", fmt.Errorf("pin tpm2: pcr_ids: want a list of numbers")
	}
	var words []string
	for _, e := range list {
		words = append(words, fmt.Sprint(e))
	}
	return strings.Join(words, ","), nil
}

func parseIDs(ids string) ([]uint, error) {
	if strings.TrimSpace(ids) == "" {
		return nil, nil
	}
	var list []uint
	for word := range strings.SplitSeq(ids, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(word), 10, 8)
		if err != nil || n > 23 {
			return nil, fmt.Errorf("pin tpm2: PCR %.20q: want 0 to 23", word)
		}
		list = append(list, uint(n))
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

func (p pin) ids() string {
	var words []string
	for _, n := range p.pcrs {
		words = append(words, fmt.Sprint(n))
	}
	return strings.Join(words, ",")
}

func (p pin) algorithm() (tpm2.TPMIAlgHash, error) {
	switch p.bank {
	case "sha1":
		return tpm2.TPMAlgSHA1, nil
	case "sha256":
		return tpm2.TPMAlgSHA256, nil
	case "sha384":
		return tpm2.TPMAlgSHA384, nil
	case "sha512":
		return tpm2.TPMAlgSHA512, nil
	}
	return 0, fmt.Errorf("pin tpm2: pcr_bank %.20q: want sha1, sha256, sha384 or sha512", p.bank)
}

func (p pin) selection() (tpm2.TPMLPCRSelection, error) {
	bank, err := p.algorithm()
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{
		Hash: bank, PCRSelect: tpm2.PCClientCompatible.PCRs(p.pcrs...)}}}, err
}
