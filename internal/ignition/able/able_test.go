package able

import (
	"strings"
	"testing"

	"holdfast/internal/ignition/spec"
)

// Each is named by its field, and what can be done is let pass.
func TestWhatNoMachineIsMadeToDoIsRefusedByItsField(t *testing.T) {
	for body, want := range map[string]string{
		`"clevis":{"tang":[{"url":"https://a","thumbprint":"b"}]}`:                                                       "$.storage.luks[1].clevis.tang: this engine asks no Tang server",
		`"clevis":{"tpm2":true,"threshold":2}`:                                                                           "$.storage.luks[1].clevis.threshold: 2 pins are asked for",
		`"clevis":{"custom":{"pin":"sss","config":"{}"}}`:                                                                "$.storage.luks[1].clevis.custom.pin: this engine opens",
		`"clevis":{"custom":{"pin":"tpm2","config":"{\"key\":\"rsa\"}"}}`:                                                "$.storage.luks[1].clevis.custom.config: pin tpm2 takes",
		`"clevis":{"custom":{"pin":"tpm2","config":"{\"pcr_ids\":\"24\"}"}}`:                                             "$.storage.luks[1].clevis.custom.config: pin tpm2 takes",
		`"cex":{"enabled":true}`:                                                                                         "$.storage.luks[1].cex: crypto cards",
		`"clevis":{"tpm2":true,"threshold":1}`:                                                                           "",
		`"clevis":{"custom":{"pin":"tpm2","config":"{\"pcr_bank\":\"sha256\",\"pcr_ids\":\"7\"}","needsNetwork":false}}`: "",
		`"keyFile":{"source":"data:,x"},"discard":true`:                                                                  "",
	} {
		d, err := spec.Loader{}.Load("a.ign", []byte(`{"ignition":{"version":"3.6.0"},"storage":{"luks":[{"name":"a","device":"/dev/a"},{"name":"b","device":"/dev/b",`+body+`}]}}`))
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		err = Check(d.Config)
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", body, err, want)
		}
	}
}
