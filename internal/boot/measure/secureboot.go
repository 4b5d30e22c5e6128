package measure

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"unicode/utf16"

	"holdfast/internal/boot/efivar"
	"holdfast/internal/boot/guid"
	"holdfast/internal/boot/uki"
)

// secureBoot is what goes to PCR 7: the policy's variables, each also when it
// is empty, then the signature that admitted the UKI. TCG PC Client Platform
// Firmware Profile, sections 3.3.4.8 and 9.2.6.
func secureBoot(b Boot) ([]Event, error) {
	if b.Keys != nil {
		if err := uki.Verify(b.UKI, b.Keys.DB); err != nil {
			return nil, err
		}
	}
	return policyEvents(b.Keys), nil
}

func policyEvents(keys *efivar.Keys) []Event {
	enabled := []byte{0}
	content := map[string][]byte{}
	if keys != nil {
		enabled[0] = 1
		for _, v := range keys.Variables() {
			content[v.Name] = v.Data
		}
	}
	events := []Event{variable(VariableConfig, efivar.Global, "SecureBoot", enabled)}
	for _, name := range []string{"PK", "KEK"} {
		events = append(events, variable(VariableConfig, efivar.Global, name, content[name]))
	}
	for _, name := range []string{"db", "dbx"} {
		events = append(events, variable(VariableConfig, efivar.Database, name, content[name]))
	}
	events = append(events, separator(7))
	if keys == nil {
		return events
	}
	authority := variable(VariableAuthority, efivar.Database, "db", efivar.SignatureData(keys.Owner, keys.DB))
	authority.Name = fmt.Sprintf("db certificate %q admits the UKI", keys.DB.Subject.CommonName)
	return append(events, authority)
}

// variable is the measurement of a UEFI_VARIABLE_DATA: section 10.2.6.
func variable(kind uint32, vendor guid.GUID, name string, data []byte) Event {
	units := utf16.Encode([]rune(name))
	id := vendor.EFI()
	le := binary.LittleEndian
	b := append([]byte{}, id[:]...)
	b = le.AppendUint64(b, uint64(len(units)))
	b = le.AppendUint64(b, uint64(len(data)))
	for _, u := range units {
		b = le.AppendUint16(b, u)
	}
	return Event{7, kind, "variable " + name, sha256.Sum256(append(b, data...))}
}
