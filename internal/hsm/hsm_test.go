package hsm_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/hsm"
	"holdfast/internal/hsm/hsmtest"
	"holdfast/internal/seal"
)

const roleVariable = "HOLDFAST_TEST_HELPER"

// TestMain is also the helpers that no vendor would ship.
func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	if role == "" {
		os.Exit(m.Run())
	}
	if role == "mute" {
		time.Sleep(time.Minute)
	}
	_ = hsm.WriteMessage(os.Stdout, hsm.Hello{Protocol: map[bool]int{true: 99, false: hsm.Protocol}[role == "newer"]})
	var r hsm.Request
	for hsm.ReadMessage(os.Stdin, &r) == nil {
		switch role {
		case "hangs":
			time.Sleep(time.Minute)
		case "crashes":
			fmt.Fprintln(os.Stderr, "vendor\x1b[31m: assertion failed")
			os.Exit(139)
		case "babbles":
			_, _ = os.Stdout.WriteString("debug: entering C_Sign\n")
		}
	}
	os.Exit(0)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestKeysNeverLeaveTheHSM(t *testing.T) {
	c := hsmtest.New(t)
	for label, kind := range map[string]hsm.Kind{"wrap": hsm.AES256, "ca": hsm.P256, "agree": hsm.P256Derive, "old-ca": hsm.RSA3072, "open": hsm.RSADecrypt} {
		check(t, c.Generate(t.Context(), label, kind))
		if err := c.Generate(t.Context(), label, kind); !errors.Is(err, hsm.ErrExist) {
			t.Errorf("a second %s: got %v", label, err)
		}
	}
	keys, err := c.List(t.Context(), "")
	check(t, err)
	if len(keys) != 5 {
		t.Errorf("got %d keys, want 5", len(keys))
	}
	for _, k := range keys {
		if k.Extractable || !k.Sensitive || !k.NeverExtractable {
			t.Errorf("%+v can leave", k)
		}
	}
}

func TestWhatOneSideEncryptsTheOtherSideOpens(t *testing.T) {
	c := hsmtest.New(t)
	check(t, c.Generate(t.Context(), "wrap", hsm.AES256))
	box, err := c.Encrypt(t.Context(), "wrap", []byte("key"), []byte("name"))
	check(t, err)
	if plain, err := c.Decrypt(t.Context(), "wrap", box, []byte("name")); err != nil || string(plain) != "key" {
		t.Errorf("got %q, %v", plain, err)
	}
	if _, err := c.Decrypt(t.Context(), "wrap", box, []byte("other")); !errors.Is(err, hsm.ErrRefused) {
		t.Errorf("another name: got %v", err)
	}
	box[20] ^= 1
	if _, err := c.Decrypt(t.Context(), "wrap", box, []byte("name")); !errors.Is(err, hsm.ErrRefused) {
		t.Errorf("altered: got %v", err)
	}
	if _, err := c.Decrypt(t.Context(), "absent", box, nil); !errors.Is(err, hsm.ErrAbsent) {
		t.Errorf("an absent key: got %v", err)
	}
}

func TestPrivateKeysServeAsThoseInMemoryDo(t *testing.T) {
	c := hsmtest.New(t)
	digest := sha256.Sum256([]byte("certificate"))
	for label, kind := range map[string]hsm.Kind{"ec": hsm.P256, "rsa": hsm.RSA3072} {
		check(t, c.Generate(t.Context(), label, kind))
		key, err := c.Key(t.Context(), label)
		check(t, err)
		signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
		check(t, err)
		switch public := key.Public().(type) {
		case *ecdsa.PublicKey:
			if !ecdsa.VerifyASN1(public, digest[:], signature) {
				t.Error("ECDSA does not verify")
			}
		case *rsa.PublicKey:
			check(t, rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature))
		}
	}
	check(t, c.Generate(t.Context(), "agree", hsm.P256Derive))
	key, err := c.Key(t.Context(), "agree")
	check(t, err)
	theirs, err := key.Public().(*ecdsa.PublicKey).ECDH()
	check(t, err)
	own, err := ecdh.P256().GenerateKey(rand.Reader)
	check(t, err)
	want, err := own.ECDH(theirs)
	check(t, err)
	got, err := c.ECDH(t.Context(), "agree", own.PublicKey().Bytes())
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("ECDH: got %x, %v, want %x", got, err, want)
	}
}

// SoftHSM 2.6 knows OAEP with SHA-1 only; other HSMs know more.
func TestOAEPIsUndoneOrItIsSaidThatItCannotBe(t *testing.T) {
	c := hsmtest.New(t)
	check(t, c.Generate(t.Context(), "open", hsm.RSADecrypt))
	key, err := c.Key(t.Context(), "open")
	check(t, err)
	box, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, key.Public().(*rsa.PublicKey), []byte("key"), nil)
	check(t, err)
	if plain, err := key.Decrypt(nil, box, &rsa.OAEPOptions{Hash: crypto.SHA1}); err != nil || string(plain) != "key" {
		t.Errorf("got %q, %v", plain, err)
	}
	box, err = rsa.EncryptOAEP(sha256.New(), rand.Reader, key.Public().(*rsa.PublicKey), []byte("key"), nil)
	check(t, err)
	if plain, err := key.Decrypt(nil, box, &rsa.OAEPOptions{Hash: crypto.SHA256}); !errors.Is(err, hsm.ErrUnsupported) && string(plain) != "key" {
		t.Errorf("SHA-256: got %q, %v", plain, err)
	}
}

func TestAMasterInTheHSMSealsAndRotates(t *testing.T) {
	c := hsmtest.New(t)
	dir := filepath.Join(t.TempDir(), "master")
	open := func() (*seal.Ring, *seal.Sealer) {
		ring, err := seal.OpenRing(t.Context(), seal.RingConfig{Dir: dir, Providers: map[string]seal.Provider{hsm.MasterKind: c.Masters()}})
		check(t, err)
		return ring, seal.New(ring)
	}
	ring, sealer := open()
	old, err := sealer.Seal(t.Context(), "a", []byte("under a file"))
	check(t, err)
	id, err := ring.Rotate(t.Context(), hsm.MasterKind, nil)
	check(t, err)
	sealed, err := sealer.Seal(t.Context(), "a", []byte("under the HSM"))
	check(t, err)
	if got, err := seal.MasterOf(sealed); err != nil || got != id {
		t.Errorf("sealed under %v, %v, want %v", got, err, id)
	}
	_, other := open()
	for want, envelope := range map[string][]byte{"under a file": old, "under the HSM": sealed} {
		if plain, err := other.Open(t.Context(), "a", envelope); err != nil || string(plain) != want {
			t.Errorf("got %q, %v, want %q", plain, err, want)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	check(t, err)
	for _, f := range files {
		if raw, _ := os.ReadFile(f); strings.Contains(string(raw), id.String()) && strings.Contains(string(raw), `"key"`) {
			t.Errorf("%s holds a key", f)
		}
	}
}

func TestAWrongPINIsTriedOnce(t *testing.T) {
	config := hsmtest.Config(t)
	check(t, os.WriteFile(config.PINFile, []byte("11111111\n"), 0o600))
	c, err := hsm.New(config)
	check(t, err)
	for range 3 {
		if _, err := c.List(t.Context(), ""); !errors.Is(err, hsm.ErrPIN) || strings.Contains(err.Error(), "11111111") {
			t.Errorf("got %v, want ErrPIN without the PIN", err)
		}
	}
	check(t, os.WriteFile(config.PINFile, []byte("98765432"), 0o600))
	if _, err := c.List(t.Context(), ""); !errors.Is(err, hsm.ErrPIN) {
		t.Errorf("got %v: it asked again", err)
	}
	config.Token = "other"
	c, err = hsm.New(config)
	check(t, err)
	if _, err := c.List(t.Context(), ""); err == nil || !strings.Contains(err.Error(), `0 tokens are called "other"`) {
		t.Errorf("got %v", err)
	}
}

func TestAHelperThatIsKilledIsStartedAgain(t *testing.T) {
	c := hsmtest.New(t)
	check(t, c.Generate(t.Context(), "wrap", hsm.AES256))
	killHelpers(t)
	var err error
	for range 50 { // the first may meet the end itself
		if err = c.Kept(t.Context(), "wrap"); err == nil {
			break
		}
		if !errors.Is(err, hsm.ErrDown) {
			t.Fatalf("got %v, want ErrDown", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	check(t, err)
}

// killHelpers ends the children of this process that are helpers.
func killHelpers(t *testing.T) {
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	check(t, err)
	var children []string
	for _, f := range tasks {
		raw, _ := os.ReadFile(f)
		children = append(children, strings.Fields(string(raw))...)
	}
	killed := 0
	for _, child := range children {
		if name, _ := os.ReadFile("/proc/" + child + "/comm"); strings.HasPrefix(string(name), "holdfast-pkcs11") {
			pid, err := strconv.Atoi(child)
			check(t, errors.Join(err, syscall.Kill(pid, syscall.SIGKILL)))
			killed++
		}
	}
	if killed == 0 {
		t.Fatal("there is no helper to kill")
	}
}

func TestAHelperThatMisbehavesIsAnError(t *testing.T) {
	for role, c := range map[string]struct {
		deadline time.Duration // short enough to wait for, or long enough not to matter
		want     string
	}{
		"hangs":   {10 * time.Second, `no answer to "list" within`},
		"mute":    {500 * time.Millisecond, "did not get ready"},
		"crashes": {time.Minute, "exit status 139) vendor [31m: assertion failed"},
		"babbles": {time.Minute, "a message of 1684365941 bytes"},
		"newer":   {time.Minute, "speaks protocol 99, expected 1"},
	} {
		deadline, want := c.deadline, c.want
		c, err := hsm.New(hsm.Config{Program: os.Args[0], Module: "m", Token: "t", PINFile: "p",
			Env: append(os.Environ(), roleVariable+"="+role), Deadline: deadline})
		check(t, err)
		if _, err := c.List(t.Context(), ""); !errors.Is(err, hsm.ErrDown) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want ErrDown with %q", role, err, want)
		}
		var later error
		for range 5 {
			if _, later = c.List(t.Context(), ""); later != nil && strings.Contains(later.Error(), "the next attempt is in") {
				break
			}
		}
		if !errors.Is(later, hsm.ErrDown) || !strings.Contains(later.Error(), "the next attempt is in") {
			t.Errorf("%s: got %v, want a pause", role, later)
		}
		check(t, c.Close())
	}
}

func TestManyAskAtOnce(t *testing.T) {
	c := hsmtest.New(t)
	check(t, c.Generate(t.Context(), "wrap", hsm.AES256))
	var work sync.WaitGroup
	for n := range 32 {
		work.Go(func() {
			text := fmt.Sprint(n)
			box, err := c.Encrypt(context.Background(), "wrap", []byte(text), nil)
			if err != nil {
				t.Error(err)
				return
			}
			if plain, err := c.Decrypt(context.Background(), "wrap", box, nil); err != nil || string(plain) != text {
				t.Errorf("got %q, %v, want %q", plain, err, text)
			}
		})
	}
	work.Wait()
}

// What comes through the pipe is a message or an error, and takes no more
// memory than a message may.
//
//fuzz:parser wire.go:ReadMessage,WriteMessage
func FuzzMessage(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x0c{\"number\":1}"))
	f.Add([]byte("\xff\xff\xff\xff{"))
	f.Add([]byte("\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var r hsm.Response
		in := bytes.NewReader(data)
		if hsm.ReadMessage(in, &r) != nil {
			return
		}
		var out bytes.Buffer
		if err := hsm.WriteMessage(&out, r); err != nil {
			return // escaping may make it longer than is allowed
		}
		var again hsm.Response
		if err := hsm.ReadMessage(&out, &again); err != nil || again.Number != r.Number || !bytes.Equal(again.Data, r.Data) {
			t.Errorf("%q became %+v, %v", data, again, err)
		}
		if err := hsm.ReadMessage(&out, &again); err != io.EOF {
			t.Errorf("got %v, want io.EOF", err)
		}
	})
}
