package disks

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
	"github.com/google/go-tpm/tpm2/transport"

	"holdfast/internal/ignition/clevis"
	"holdfast/internal/swtpm"
)

// withoutMapper runs the real cryptsetup, but for what needs a device mapper:
// volumes are tried with their key instead of opened.
func withoutMapper(t *testing.T, log *[]string) Runner {
	if _, err := exec.LookPath("cryptsetup"); err != nil {
		t.Skip("needs cryptsetup: apt-get install cryptsetup-bin")
	}
	return func(ctx context.Context, c Command) ([]byte, error) {
		*log = append(*log, strings.Join(c.Args, " "))
		if c.Args[0] == "luksOpen" {
			c.Args = []string{"luksOpen", "--test-passphrase", c.Args[slices.IndexFunc(c.Args, func(a string) bool { return strings.HasPrefix(a, "/") && !strings.HasPrefix(a, "/proc") })], "--key-file", SecretPath(0)}
		}
		return Program(ctx, c)
	}
}

func luksStage(t *testing.T, bind Binder) (*stage, *[]string) {
	s, log := newStage(t), &[]string{}
	s.Exec, s.Bind = withoutMapper(t, log), bind
	s.Fetch = func(_ context.Context, r types.Resource, w io.Writer) error {
		_, err := io.WriteString(w, strings.TrimPrefix(*r.Source, "data:,"))
		return err
	}
	return s, log
}

const fast = `"options":["--pbkdf","pbkdf2","--pbkdf-force-iterations","1000"]`

func TestAVolumeIsMadeAndUsedAgain(t *testing.T) {
	path := makeDisk(t, 24, nil)
	config := storage(t, `{"luks":[{"name":"data","device":%q,"label":"secret","uuid":%q,"keyFile":{"source":"data:,key"},%s}]}`, path, aUUID, fast)
	for i := range 2 {
		s, log := luksStage(t, nil)
		if err := s.Run(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		if made := strings.Contains(strings.Join(*log, "\n"), "luksFormat"); made != (i == 0) {
			t.Errorf("run %d: %v", i, *log)
		}
		if got := s.State.LuksPersistKeyFiles["data"]; got != "data:application/octet-stream;base64,a2V5" {
			t.Errorf("state has %q", got)
		}
	}
	if got, err := probeDevice(path); err != nil || got.Type != "crypto_LUKS" || got.Label != "secret" || got.UUID != aUUID {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestVolumesInTheWayAreRefused(t *testing.T) {
	path := makeDisk(t, 24, nil)
	s, _ := luksStage(t, nil)
	if err := s.Run(t.Context(), storage(t, `{"luks":[{"name":"data","device":%q,"keyFile":{"source":"data:,key"},%s}]}`, path, fast)); err != nil {
		t.Fatal(err)
	}
	for rest, says := range map[string]string{
		`"keyFile":{"source":"data:,wrong"}`:                    "cryptsetup",
		`"keyFile":{"source":"data:,key"},"label":"other"`:      `instead of "other"`,
		`"keyFile":{"source":"data:,key"},"uuid":"` + one + `"`: "instead of",
		`"keyFile":{"source":"data:,key"},"discard":true`:       "discard is false instead of true",
		`"label":"x"`: "with a keyFile only",
	} {
		before, _ := os.ReadFile(path)
		s, _ := luksStage(t, nil)
		err := s.Run(t.Context(), storage(t, `{"luks":[{"name":"data","device":%q,%s}]}`, path, rest))
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "wrong") && rest[1] == 'k' && strings.Contains(err.Error(), "data:") {
			t.Errorf("%s: got %v", rest, err)
		}
		if after, _ := os.ReadFile(path); !slices.Equal(before, after) {
			t.Errorf("%s: the volume changed", rest)
		}
	}
}

func TestAFilesystemIsNotEncryptedOver(t *testing.T) {
	path := makeDisk(t, 24, nil)
	mkfs(t, "mkfs.ext4", "-q", "-F", path)
	refuses(t, path, storage(t, `{"luks":[{"name":"data","device":%q}]}`, path), "ext4")
}

func TestWhatCannotBeDoneIsRefusedBeforeAnythingIs(t *testing.T) {
	path := makeDisk(t, 27, base)
	for rest, says := range map[string]string{
		`"clevis":{"tang":[{"url":"http://tang"}]}`:       "clevis.tang",
		`"clevis":{"tpm2":true}`:                          "no TPM",
		`"clevis":{"tpm2":true,"threshold":2}`:            "threshold",
		`"clevis":{"custom":{"pin":"sss","config":"{}"}}`: "custom.pin",
		`"cex":{"enabled":true}`:                          "cex",
	} {
		refuses(t, path, storage(t, `{"disks":[{"device":%q,"wipeTable":true}],"luks":[{"name":"x","device":%q,%s}]}`, path, path, rest), says)
	}
}

// The key that the TPM gives opens the volume, the one it was made with does
// not any more, and the token is one that clevis reads.
func TestABoundVolumeOpensByTheTPM(t *testing.T) {
	pin := pinOf(newChip(t))
	path := makeDisk(t, 24, nil)
	s, log := luksStage(t, pin)
	if err := s.Run(t.Context(), storage(t, `{"luks":[{"name":"data","device":%q,"clevis":{"custom":{"pin":"tpm2","config":"{\"pcr_bank\":\"sha256\",\"pcr_ids\":\"7\"}"}},%s}]}`, path, fast)); err != nil {
		t.Fatalf("%v\n%v", err, *log)
	}
	if len(s.State.LuksPersistKeyFiles) != 0 {
		t.Error("a key that is gone is kept")
	}
	out, err := exec.Command("cryptsetup", "luksDump", "--dump-json-metadata", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		Keyslots map[string]any
		Tokens   map[string]struct {
			Type     string
			Keyslots []string
			JWE      json.RawMessage
		}
	}
	if err := json.Unmarshal(out, &m); err != nil {
		t.Fatal(err)
	}
	token := m.Tokens["0"]
	if len(m.Keyslots) != 1 || token.Type != "clevis" || len(token.Keyslots) != 1 || m.Keyslots[token.Keyslots[0]] == nil {
		t.Fatalf("got %s", out)
	}
	key, err := pin.Open(t.Context(), token.JWE)
	if err != nil {
		t.Fatal(err)
	}
	try := func(key []byte) error {
		_, err := Program(t.Context(), Command{Name: "cryptsetup", Args: []string{"luksOpen", "--test-passphrase", path, "--key-file", SecretPath(0)}, Secrets: [][]byte{key}})
		return err
	}
	if err := errors.Join(try(key)); err != nil {
		t.Error(err)
	}
	if try([]byte("another")) == nil {
		t.Error("another key opens the volume")
	}
	if list, err := exec.LookPath("clevis-luks-list"); err == nil {
		if said, err := exec.Command(list, "-d", path).CombinedOutput(); err != nil || !strings.Contains(string(said), `tpm2 '{"hash":"sha256","key":"ecc","pcr_bank":"sha256","pcr_ids":"7"}'`) {
			t.Errorf("clevis luks list: %v: %s", err, said)
		}
	}
}

// newChip is a software TPM that ends with the test.
func newChip(t *testing.T) *swtpm.TPM {
	t.Helper()
	if err := swtpm.Installed(); err != nil {
		t.Skip(err)
	}
	home := t.TempDir()
	if err := swtpm.Manufacture(t.Context(), swtpm.Config{Dir: filepath.Join(home, "tpm"), CADir: filepath.Join(home, "ca")}); err != nil {
		t.Fatal(err)
	}
	chip, err := swtpm.Open(t.Context(), filepath.Join(home, "tpm"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = chip.Close() })
	return chip
}

func pinOf(chip *swtpm.TPM) clevis.TPM2 {
	return clevis.TPM2{Chip: func(context.Context) (transport.TPMCloser, error) { return kept{chip}, nil }}
}

type kept struct{ *swtpm.TPM }

func (kept) Close() error { return nil }
