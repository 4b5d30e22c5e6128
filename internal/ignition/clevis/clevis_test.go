package clevis

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"holdfast/internal/swtpm"
	"holdfast/test/port"
)

// chips are folders of software TPMs.
func newChip(t *testing.T) (dir string, pin TPM2) {
	t.Helper()
	if err := swtpm.Installed(); err != nil {
		t.Skip(err)
	}
	home := t.TempDir()
	dir = filepath.Join(home, "tpm")
	if err := swtpm.Manufacture(t.Context(), swtpm.Config{Dir: dir, CADir: filepath.Join(home, "ca")}); err != nil {
		t.Fatal(err)
	}
	return dir, TPM2{Chip: func(ctx context.Context) (transport.TPMCloser, error) { return openChip(ctx, dir) }}
}

// openChip leaves the TPM in an orderly way, as kernels do: it takes the
// other way for an attack on what lies below the pin's parent key.
func openChip(ctx context.Context, dir string) (transport.TPMCloser, error) {
	chip, err := swtpm.Open(ctx, dir)
	return orderly{chip}, err
}

type orderly struct{ *swtpm.TPM }

func (o orderly) Close() error {
	_, err := tpm2.Shutdown{ShutdownType: tpm2.TPMSUClear}.Execute(o.TPM)
	return errors.Join(err, o.TPM.Close())
}

const secret = "a passphrase of a volume"

func TestASecretOpensInItsOwnTPMOnly(t *testing.T) {
	_, mine := newChip(t)
	_, other := newChip(t)
	for _, config := range []string{`{}`, `{"pcr_bank":"sha256","pcr_ids":"7,11"}`} {
		jwe, err := mine.Seal(t.Context(), []byte(secret), json.RawMessage(config))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(jwe), secret) {
			t.Error("the secret is in the JWE")
		}
		if got, err := mine.Open(t.Context(), jwe); err != nil || string(got) != secret {
			t.Errorf("%s: got %q, %v", config, got, err)
		}
		if _, err := other.Open(t.Context(), jwe); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: another TPM: %v", config, err)
		}
	}
}

func TestASecretOpensInTheSameStateOnly(t *testing.T) {
	dir, pin := newChip(t)
	jwe, err := pin.Seal(t.Context(), []byte(secret), json.RawMessage(`{"pcr_bank":"sha256","pcr_ids":[11]}`))
	if err != nil {
		t.Fatal(err)
	}
	changed := TPM2{Chip: func(ctx context.Context) (transport.TPMCloser, error) {
		chip, err := openChip(ctx, dir)
		if err != nil {
			return nil, err
		}
		_, err = tpm2.PCREvent{PCRHandle: tpm2.AuthHandle{Handle: 11, Auth: tpm2.PasswordAuth(nil)}, EventData: tpm2.TPM2BEvent{Buffer: []byte("another image")}}.Execute(chip)
		return chip, err
	}}
	if _, err := changed.Open(t.Context(), jwe); !errors.Is(err, ErrRefused) {
		t.Errorf("with another PCR 11: %v", err)
	}
}

// serve runs the TPM where tpm2-tools look for it.
func serve(t *testing.T, dir string) (tcti string) {
	t.Helper()
	number := port.Free(t) // and the next
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+dir, "--flags", "not-need-init,startup-clear",
		"--server", fmt.Sprintf("type=tcp,port=%d,bindaddr=127.0.0.1", number), "--ctrl", fmt.Sprintf("type=tcp,port=%d,bindaddr=127.0.0.1", number+1))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for range 1000 {
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", number+1)); err == nil {
			c.Close()
			return fmt.Sprintf("swtpm:host=127.0.0.1,port=%d", number)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("swtpm does not answer")
	return ""
}

func clevis(t *testing.T, tcti, input string, args ...string) string {
	t.Helper()
	cmd := exec.Command("clevis", args...)
	cmd.Env = append(os.Environ(), "TPM2TOOLS_TCTI="+tcti, "TMPDIR="+t.TempDir())
	cmd.Stdin = strings.NewReader(input)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("clevis %v: %v: %s", args, err, &said)
	}
	return string(out)
}

func needClevis(t *testing.T) {
	for _, tool := range []string{"clevis-encrypt-tpm2", "tpm2_unseal", "jose"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("needs clevis: apt-get install clevis-tpm2 clevis-luks")
		}
	}
}

// clevis is what other systems open volumes with.
func TestClevisOpensWhatWeSeal(t *testing.T) {
	needClevis(t)
	for _, config := range []string{`{}`, `{"pcr_bank":"sha256","pcr_ids":"7,11"}`} {
		dir, pin := newChip(t)
		raw, err := pin.Seal(t.Context(), []byte(secret), json.RawMessage(config))
		if err != nil {
			t.Fatal(err)
		}
		var j flattened
		if err := json.Unmarshal(raw, &j); err != nil {
			t.Fatal(err)
		}
		compact := strings.Join([]string{j.Protected, j.EncryptedKey, j.IV, j.Ciphertext, j.Tag}, ".")
		if got := clevis(t, serve(t, dir), compact, "decrypt"); got != secret {
			t.Errorf("%s: clevis gives %q", config, got)
		}
	}
}

func TestWeOpenWhatClevisSeals(t *testing.T) {
	needClevis(t)
	for _, config := range []string{`{}`, `{"pcr_bank":"sha256","pcr_ids":"7,11"}`} {
		dir, pin := newChip(t)
		var compact string
		t.Run("seal", func(t *testing.T) { compact = clevis(t, serve(t, dir), secret, "encrypt", "tpm2", config) })
		parts := strings.Split(strings.TrimSpace(compact), ".")
		if len(parts) != 5 {
			t.Fatalf("got %q", compact)
		}
		raw, _ := json.Marshal(flattened{Protected: parts[0], EncryptedKey: parts[1], IV: parts[2], Ciphertext: parts[3], Tag: parts[4]})
		if got, err := pin.Open(t.Context(), raw); err != nil || string(got) != secret {
			t.Errorf("%s: got %q, %v", config, got, err)
		}
	}
}

func TestBadPinsAreRefused(t *testing.T) {
	for _, c := range []string{``, `[]`, `{"pcr_ids":"24"}`, `{"pcr_ids":{}}`, `{"pcr_bank":"md5"}`, `{"hash":"sha1"}`, `{"key":"rsa"}`, `{"url":"http://tang"}`, `{"pcr_digest":"*"}`} {
		if _, err := parsePin(json.RawMessage(c)); err == nil {
			t.Errorf("%s: accepted", c)
		}
	}
}

//fuzz:parser clevis.go:Open,parseHeader pin.go:parsePin,idsOf,parseIDs
func FuzzJWE(f *testing.F) {
	none := TPM2{Chip: func(context.Context) (transport.TPMCloser, error) { return nil, ErrRefused }}
	f.Add([]byte(`{"protected":"eyJhbGciOiJkaXIiLCJjbGV2aXMiOnsicGluIjoidHBtMiIsInRwbTIiOnsiaGFzaCI6InNoYTI1NiIsImtleSI6ImVjYyIsInBjcl9pZHMiOiI3In19LCJlbmMiOiJBMjU2R0NNIn0","iv":"","ciphertext":"","tag":""}`))
	f.Add([]byte(`{"pcr_ids":["1",2],"pcr_bank":"sha256"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := none.Open(context.Background(), b); err == nil {
			t.Error("opened without a TPM")
		}
		if p, err := parsePin(b); err == nil {
			if again, err := parseIDs(p.ids()); err != nil || len(again) != len(p.pcrs) {
				t.Errorf("PCRs %v are %v when read again, %v", p.pcrs, again, err)
			}
		}
	})
}
