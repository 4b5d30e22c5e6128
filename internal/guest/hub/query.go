package hub

import (
	"encoding/hex"
	"strings"
)

// parseQuery reads a query as the URL standard has it
// (https://url.spec.whatwg.org/#urlencoded-parsing), which unlike net/url
// refuses nothing: a percent sign that begins no byte stands for itself. The
// last of several values counts.
func parseQuery(query string) map[string]string {
	values := map[string]string{}
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		values[unescape(name)] = unescape(value)
	}
	return values
}

func unescape(s string) string {
	s = strings.ReplaceAll(s, "+", " ")
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+3 <= len(s) {
			if raw, err := hex.DecodeString(s[i+1 : i+3]); err == nil {
				b.Write(raw)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return strings.ToValidUTF8(b.String(), "\uFFFD")
}
