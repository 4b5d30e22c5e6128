package verify

import (
	"maps"
	"regexp"

	"holdfast/internal/attest"
)

// first are the claims that there were before a machine could be trusted by a
// list of keys, or show more than one bank.
var first = regexp.MustCompile(`^(report_data|init_data|init_data_digest|ak_public|ak_name|ek_certificate|tpm|pcr[0-9]{2}|` +
	`event_log_pcrs|secure_boot|boot_programs|uki_sections)$`)

// FirstClaims are those of c that verifiers have told from the first. What has
// no claim named activated was judged by one of those, and can be compared with
// them.
func FirstClaims(c attest.Claims) attest.Claims {
	out := maps.Clone(c)
	maps.DeleteFunc(out, func(name string, _ any) bool { return !first.MatchString(name) })
	return out
}
