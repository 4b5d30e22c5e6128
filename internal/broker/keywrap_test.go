package broker

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/enc"
)

func TestKeysAreWrappedAndUnwrappedForAdministratorsAlone(t *testing.T) {
	b := newBench(t, nil)
	kek := bytes.Repeat([]byte{3}, 32)
	check(t, b.admin.SetResource(t.Context(), "default/key/kek", kek))
	check(t, b.admin.SetResource(t.Context(), "default/secret/short", []byte("no key")))
	raw, err := b.admin.WrapKey(t.Context(), "default/key/kek", []byte("options"))
	check(t, err)
	packet, err := enc.ParsePacket(raw)
	check(t, err)
	if got, err := packet.Open(kek); err != nil || string(got) != "options" || packet.KID != "kbs:///default/key/kek" {
		t.Errorf("got %q, %v by %s", got, err, packet.KID)
	}
	if got, err := b.admin.UnwrapKey(t.Context(), raw); err != nil || string(got) != "options" {
		t.Errorf("got %q, %v", got, err)
	}
	for _, path := range []string{"default/key/absent", "default/secret/short", "default/../key", ""} {
		if _, err := b.admin.WrapKey(t.Context(), path, []byte("options")); err == nil {
			t.Errorf("%q wrapped a key", path)
		}
	}
	for _, altered := range []string{`{}`, strings.Replace(string(raw), "kek", "absent", 1), strings.Replace(string(raw), "kek", "../kek", 1),
		strings.Replace(string(raw), `"wrapped_data":"`, `"wrapped_data":"AAAA`, 1)} {
		if got, err := b.admin.UnwrapKey(t.Context(), json.RawMessage(altered)); err == nil {
			t.Errorf("%s: got %q", altered, got)
		}
	}
	m := b.machine()
	for _, path := range []string{api.KeyWrapPath, api.KeyUnwrapPath} {
		if status, body := m.call("POST", path, api.KeyWrap{Packet: raw}); status != 401 {
			t.Errorf("%s without a token: got %d %s", path, status, body)
		}
	}
}
