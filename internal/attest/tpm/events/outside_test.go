package events

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-eventlog/extract"
	"github.com/google/go-eventlog/register"
	"github.com/google/go-eventlog/tcg"
	"github.com/google/go-eventlog/testdata"

	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
)

// theirs are logs of machines of others.
var theirs = map[string][]byte{
	"ArchLinuxWorkstationEventLog":   testdata.ArchLinuxWorkstationEventLog,
	"Cos101AmdSevEventLog":           testdata.Cos101AmdSevEventLog,
	"Cos85AmdSevEventLog":            testdata.Cos85AmdSevEventLog,
	"Cos93AmdSevEventLog":            testdata.Cos93AmdSevEventLog,
	"GlinuxAlexEventLog":             testdata.GlinuxAlexEventLog,
	"Rhel8EventLog":                  testdata.Rhel8EventLog,
	"Ubuntu1804AmdSevEventLog":       testdata.Ubuntu1804AmdSevEventLog,
	"Ubuntu2104NoDbxEventLog":        testdata.Ubuntu2104NoDbxEventLog,
	"Ubuntu2104NoSecureBootEventLog": testdata.Ubuntu2104NoSecureBootEventLog,
	"Ubuntu2404AmdSevSnpEventLog":    testdata.Ubuntu2404AmdSevSnpEventLog,
}

// signedBy are the PCRs that the machine's TPM showed.
func signedBy(t *testing.T, name string) []Values {
	t.Helper()
	raw, err := os.ReadFile("testdata/go-eventlog/pcrs.json")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]map[tpm.Bank]map[string]string
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	var signed []Values
	for _, b := range tpm.Banks() {
		if all[name][b] == nil {
			continue
		}
		v := Values{Bank: b, PCRs: make([][]byte, tpm.PCRs)}
		for i := range v.PCRs {
			v.PCRs[i] = make([]byte, b.Hash().Size())
		}
		for number, text := range all[name][b] {
			i, _ := strconv.Atoi(number)
			if v.PCRs[i], err = hex.DecodeString(text); err != nil {
				t.Fatal(err)
			}
		}
		signed = append(signed, v)
	}
	return signed
}

func TestLogsOfOthersReplayAndTellWhatGoEventlogTells(t *testing.T) {
	for name, log := range theirs {
		t.Run(name, func(t *testing.T) {
			signed := signedBy(t, name)
			records, err := Replay(log, signed)
			if err != nil {
				t.Fatal(err)
			}
			var banks []tpm.Bank
			for _, v := range signed {
				banks = append(banks, v.Bank)
			}
			claims, err := Tell(records, banks)
			if name == "ArchLinuxWorkstationEventLog" { // go-eventlog refuses the empty variable of a firmware without Secure Boot
				if err != nil || claims["secure_boot"] != false {
					t.Errorf("secure_boot is %v, %v, want false", claims["secure_boot"], err)
				}
				return
			}
			want, wantErr := stateOf(t, log, signed[0])
			if (err == nil) != (wantErr == nil) {
				t.Fatalf("we say %v, go-eventlog %v", err, wantErr)
			}
			if err == nil {
				compare(t, claims, want)
			}
		})
	}
}

func stateOf(t *testing.T, log []byte, v Values) (*extract.SecurebootState, error) {
	t.Helper()
	parsed, err := tcg.ParseEventLog(log, tcg.ParseOpts{})
	if err != nil {
		t.Fatal(err)
	}
	var registers []register.MR
	for i, value := range v.PCRs {
		registers = append(registers, register.PCR{Index: i, Digest: value, DigestAlg: v.Bank.Hash()})
	}
	list, err := parsed.Verify(registers)
	if err != nil {
		t.Fatal(err)
	}
	return extract.ParseSecurebootState(list, extract.TPMRegisterConfig)
}

func compare(t *testing.T, claims attest.Claims, want *extract.SecurebootState) {
	t.Helper()
	if claims["secure_boot"] != want.Enabled {
		t.Errorf("secure_boot is %v, go-eventlog says %v", claims["secure_boot"], want.Enabled)
	}
	keys, _ := claims["secure_boot_keys"].(map[string]Keys)
	for _, c := range []struct {
		name   string
		certs  int
		hashes int
	}{
		{"PK", len(want.PlatformKeys), len(want.PlatformKeyHashes)},
		{"KEK", len(want.ExchangeKeys), len(want.ExchangeKeyHashes)},
		{"db", len(want.PermittedKeys), len(want.PermittedHashes)},
		{"dbx", len(want.ForbiddenKeys), len(want.ForbiddenHashes)},
	} {
		if got := keys[c.name]; len(got.Certificates) != c.certs || got.Hashes != c.hashes {
			t.Errorf("%s has %d certificates and %d hashes, go-eventlog says %d and %d", c.name, len(got.Certificates), got.Hashes, c.certs, c.hashes)
		}
	}
	var admitted []string
	signers, _ := claims["secure_boot_signers"].([]Signer)
	for _, s := range signers {
		if s.Certificate != nil {
			admitted = append(admitted, s.Certificate.SHA256)
		}
	}
	var wanted []string
	for _, c := range append(want.PreSeparatorAuthority, want.PostSeparatorAuthority...) {
		sum := sha256.Sum256(c.Raw)
		wanted = append(wanted, hex.EncodeToString(sum[:]))
	}
	if strings.Join(admitted, " ") != strings.Join(wanted, " ") {
		t.Errorf("programs were admitted by %v, go-eventlog says %v", admitted, wanted)
	}
}

func TestCommandLineOfOthersIsTold(t *testing.T) {
	for name, want := range map[string]string{
		"Ubuntu2404AmdSevSnpEventLog": testdata.Ubuntu2404AmdSevSnpCmdline,
	} {
		signed := signedBy(t, name)
		records, err := Replay(theirs[name], signed)
		if err != nil {
			t.Fatal(err)
		}
		claims, err := Tell(records, []tpm.Bank{signed[0].Bank})
		if err != nil {
			t.Fatal(err)
		}
		lines, _ := claims["command_lines"].([]Measurement)
		if len(lines) != 1 || lines[0].Text != strings.TrimRight(want, "\x00") {
			t.Errorf("%s: command lines are %+v, want %q", name, lines, want)
		}
		if table, _ := claims["partition_table"].(*PartitionTable); table == nil || len(table.Partitions) == 0 {
			t.Errorf("%s: partition table is %v", name, claims["partition_table"])
		}
	}
}

// Altered anywhere, a log is refused, or tells less, but nothing that the true
// one does not.
func TestAlteredLogTellsNothingNew(t *testing.T) {
	const name = "Rhel8EventLog"
	signed := signedBy(t, name)
	told := func(log []byte) (attest.Claims, error) {
		records, err := Replay(log, signed)
		if err != nil {
			return nil, err
		}
		return Tell(records, []tpm.Bank{tpm.SHA256})
	}
	truth, err := told(theirs[name])
	if err != nil {
		t.Fatal(err)
	}
	known := words(t, truth)
	if len(known) < 30 {
		t.Fatalf("the true log tells only %v", known)
	}
	log := append([]byte(nil), theirs[name]...)
	refused := 0
	for i := 0; i < len(log); i += 7 {
		log[i] ^= 0x41
		claims, err := told(log)
		if err != nil {
			refused++
			if !errors.Is(err, attest.ErrEventLog) {
				t.Fatalf("byte %d: got %v, want %v", i, err, attest.ErrEventLog)
			}
		}
		for word := range words(t, claims) {
			if !known[word] {
				t.Errorf("byte %d: an altered log tells %q", i, word)
			}
		}
		log[i] ^= 0x41
	}
	if refused == 0 {
		t.Error("no alteration was refused")
	}
}

// words are the strings in claims, but for the types of records, which nobody
// measures.
func words(t *testing.T, claims attest.Claims) map[string]bool {
	t.Helper()
	raw, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, member := range v {
				if name != "type" {
					walk(member)
				}
			}
		case []any:
			for _, member := range v {
				walk(member)
			}
		case string:
			found[v] = true
		}
	}
	walk(v)
	return found
}
