package verify

import (
	"embed"
	"encoding/pem"
	"fmt"
	"strings"

	"holdfast/internal/attest/snp"
)

//go:embed roots/*.pem
var roots embed.FS

// AMD returns the authorities of AMD, which hold unless Config names others.
func AMD() (map[snp.Product][]Authority, error) {
	all := map[snp.Product][]Authority{}
	for _, p := range []snp.Product{snp.Milan, snp.Genoa, snp.Turin} {
		raw, err := roots.ReadFile("roots/" + strings.ToLower(string(p)) + ".pem")
		if err != nil {
			return nil, err
		}
		a, err := ParseAuthority(raw)
		if err != nil {
			return nil, fmt.Errorf("authority of %s: %w", p, err)
		}
		all[p] = []Authority{a}
	}
	return all, nil
}

// ParseAuthority reads PEM certificates: ASK, ARK and, if there is one, ASVK,
// in the order of AMD's key distribution service.
func ParseAuthority(raw []byte) (Authority, error) {
	var a Authority
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		cert, err := ParseCertificate(block.Bytes)
		if err != nil {
			return Authority{}, err
		}
		switch name := cert.Subject.CommonName; {
		case strings.HasPrefix(name, "ARK-"):
			a.Root = cert
		case strings.HasPrefix(name, "SEV-VLEK-"):
			a.VLEK = cert
		case strings.HasPrefix(name, "SEV-"):
			a.VCEK = cert
		default:
			return Authority{}, fmt.Errorf("certificate of %.80q: expected ARK-LINE, SEV-LINE or SEV-VLEK-LINE", name)
		}
	}
	if a.Root == nil || a.VCEK == nil && a.VLEK == nil {
		return Authority{}, fmt.Errorf("expected PEM certificates of ARK-LINE and of SEV-LINE or SEV-VLEK-LINE")
	}
	return a, nil
}
