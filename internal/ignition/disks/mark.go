package disks

import (
	"context"
	"crypto/hmac"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"holdfast/internal/ignition/luks"
)

// A Mark is what a run writes on the volumes that it binds to the TPM, so that
// later boots know them from others'.
type Mark struct {
	Configuration string // sha256:… of what the run applies
	// Mac is by a key that nobody has but a machine in the state that volumes
	// are bound to.
	Mac func(ctx context.Context, message []byte) ([]byte, error)
	// Redo says that a run of the same configuration was cut off: the volumes
	// with its mark hold nothing yet and are made again.
	Redo bool
}

// subsystem is the mark that a volume has from its first moment.
func (m *Mark) subsystem() string {
	_, hex, _ := strings.Cut(m.Configuration, ":")
	return "holdfast:" + hex[:min(32, len(hex))]
}

// tokenType is of the token that holds the header's MAC.
const tokenType = "holdfast"

type token struct {
	Type          string   `json:"type"`
	Keyslots      []string `json:"keyslots"`
	Configuration string   `json:"configuration"`
	MAC           string   `json:"mac"`
}

// seal is the last change to a volume's header.
func (v volume) seal(ctx context.Context) error {
	m := v.s.Mark
	h, err := readHeader(v.dev)
	if err != nil {
		return err
	}
	message, err := h.Message(tokenType)
	if err != nil {
		return err
	}
	mac, err := m.Mac(ctx, message)
	if err != nil {
		return fmt.Errorf("mark of the machine: %w", err)
	}
	raw, err := json.Marshal(token{tokenType, []string{}, m.Configuration, base64.StdEncoding.EncodeToString(mac)})
	if err != nil {
		return err
	}
	_, err = v.s.Exec(ctx, Command{Name: "cryptsetup", Args: []string{"token", "import", v.dev}, Input: raw})
	return err
}

func readHeader(dev string) (*luks.Header, error) {
	f, err := os.Open(dev)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return luks.Read(f)
}

// isCutOff tells a volume that may be made again: see Mark.Redo.
func (s *stage) isCutOff(dev string) bool {
	if s.Mark == nil || !s.Mark.Redo {
		return false
	}
	h, err := readHeader(dev)
	return err == nil && h.Subsystem == s.Mark.subsystem()
}

// ErrPlanted says that a volume is not as this machine made it.
var ErrPlanted = errors.New("its header is not as this machine left it")

// genuine checks the mark's MAC.
func (m *Mark) genuine(ctx context.Context, h *luks.Header) error {
	list := h.Token(tokenType)
	var t token
	if len(list) != 1 || json.Unmarshal(list[0], &t) != nil {
		return ErrPlanted
	}
	got, err := base64.StdEncoding.DecodeString(t.MAC)
	if err != nil {
		return ErrPlanted
	}
	message, err := h.Message(tokenType)
	if err != nil {
		return err
	}
	want, err := m.Mac(ctx, message)
	if err != nil {
		return fmt.Errorf("mark of the machine: %w", err)
	}
	if !hmac.Equal(got, want) {
		return ErrPlanted
	}
	return nil
}
