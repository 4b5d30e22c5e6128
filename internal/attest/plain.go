package attest

import (
	"bytes"
	"slices"

	"holdfast/internal/api"
)

// appendPlain writes the canonical form of runtime data whose texts have nothing
// to escape, and whose key is an object of texts without a blank, as clients
// write it: a tenth of the work. It is not ok of any other, nor of a key with
// two members of one name.
func appendPlain(text []byte, data api.RuntimeData, additional string) (out []byte, ok bool) {
	members, ok := readPlain(data.TEEPubKey)
	if !ok || !plain(data.Nonce) || !plain(additional) {
		return nil, false
	}
	text = append(append(append(text, `{"additional-evidence":"`...), additional...), `","nonce":"`...)
	text = append(append(text, data.Nonce...), `","tee-pubkey":{`...)
	for i, m := range members {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(append(append(append(append(text, '"'), m.name...), `":"`...), m.value...), '"')
	}
	return append(text, "}}"...), true
}

type member struct{ name, value []byte }

// readPlain gives the members by name (RFC 8785, section 3.2.3: of ASCII, the
// order of UTF-16 is that of bytes).
func readPlain(raw []byte) (members []member, ok bool) {
	rest, more := bytes.CutPrefix(raw, []byte("{"))
	for more {
		var m member
		if m.name, rest, ok = plainText(rest, ':'); !ok {
			return nil, false
		}
		if m.value, rest, more = plainText(rest, ','); !more {
			m.value, rest, ok = plainText(rest, '}')
		}
		members = append(members, m)
	}
	slices.SortFunc(members, func(x, y member) int { return bytes.Compare(x.name, y.name) })
	for i := 1; i < len(members) && ok; i++ {
		ok = !bytes.Equal(members[i-1].name, members[i].name)
	}
	return members, ok && len(rest) == 0
}

// plainText reads a text in quotes and what follows it. What it cannot read it
// leaves.
func plainText(raw []byte, then byte) (text, rest []byte, ok bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return nil, raw, false
	}
	end := bytes.IndexByte(raw[1:], '"') + 1
	if end == 0 || end+1 >= len(raw) || raw[end+1] != then || !plain(raw[1:end]) {
		return nil, raw, false
	}
	return raw[1:end], raw[end+2:], true
}

func plain[T string | []byte](text T) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
