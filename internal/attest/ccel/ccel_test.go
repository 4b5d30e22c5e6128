package ccel_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"holdfast/internal/attest"
	"holdfast/internal/attest/ccel"
	"holdfast/internal/attest/ccel/cceltest"
)

func parse(t testing.TB, path string) *ccel.Log {
	t.Helper()
	log, err := ccel.Parse(cceltest.Unpacked(t, "testdata/"+path))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return log
}

// The registers are those that go-eventlog's test holds the log to
// (ccel/replay_test.go).
func TestLogOfAGoogleMachineReplays(t *testing.T) {
	registers := parse(t, "go-eventlog/cos-113-intel-tdx.bin.gz").Replay()
	for n, want := range []string{
		"3fa2f61f395b7f5feefb4ec2df61297f109ad8abcd6410c1b7df60f21f37b19297fc35e544039c7e1edece752afd17f6",
		"f62dbc072bd5d3f3438b7b35c39a727f5aea2ffc2473f43723953f530daf62504f0a7944aa62c41a86e8a878c2b122c1",
		"4969684dc87381fc3b3134176c8d8806eaf0a901859f5f70cfae8d17714b46c10a8de219048c9fc09f11f381a6fbe7c1",
	} {
		if got := hex.EncodeToString(registers[n][:]); got != want {
			t.Errorf("RTMR %d is %s, want %s", n, got, want)
		}
	}
}

func TestFirmwareOfBothKindsIsRead(t *testing.T) {
	for path, want := range map[string]int{"trustee/CCEL_data.gz": 5, "trustee/CCEL_data_ovmf.gz": 0} {
		if got := len(parse(t, path).Claims()); want > 0 && got != want || got == 0 {
			t.Errorf("%s: %d events, want %d", path, got, want)
		}
	}
}

// The names that Trustee's policy asks for.
func TestKernelAndItsParametersAreNamed(t *testing.T) {
	var kernel, parameters bool
	for _, e := range parse(t, "trustee/CCEL_data_ovmf.gz").Claims() {
		details := e["details"].(map[string]any)
		paths, _ := details["device_paths"].([]string)
		for _, p := range paths {
			kernel = kernel || p == "File(kernel)"
		}
		parameters = parameters || details["string"] == "LOADED_IMAGE::LoadOptions"
	}
	if !kernel || !parameters {
		t.Errorf("kernel %v, parameters %v", kernel, parameters)
	}
}

func TestAnotherDigestIsAnotherRegister(t *testing.T) {
	raw := cceltest.Unpacked(t, "testdata/"+"trustee/CCEL_data.gz")
	good, err := ccel.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := hex.DecodeString("c6e6d33de4104b8196acfb57a9866ef6a85d413e86c1be96486e857b464591f4e2d252414346e9b98960246d2219a0eb")
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(raw, digest)
	if at < 0 {
		t.Fatal("the log has no such digest")
	}
	raw[at] ^= 1
	bent, err := ccel.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if good.Replay() == bent.Replay() {
		t.Error("the registers are the same")
	}
}

func TestWhatIsNoLogIsRefused(t *testing.T) {
	for name, raw := range map[string][]byte{"nothing": nil, "text": []byte("a log, it says, but nothing in it is one at all")} {
		if _, err := ccel.Parse(raw); !errors.Is(err, attest.ErrEventLog) {
			t.Errorf("%s: got %v, want %v", name, err, attest.ErrEventLog)
		}
	}
	if _, err := ccel.Parse(make([]byte, 2<<20)); !errors.Is(err, attest.ErrMalformed) {
		t.Errorf("too long: got %v, want %v", err, attest.ErrMalformed)
	}
}
