package diff

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/boot/uki"
	"holdfast/internal/oci"
	"holdfast/internal/sign"
)

const (
	maxUKI       = 1 << 30
	maxReference = 16 << 20
)

// uki adds the kernel image: as a whole, what its signature covers, and each
// section. Short texts, such as the command line, are shown as they are.
func (m machineImage) uki(c *content) error {
	image, err := readFile(m.UKIPath(), maxUKI)
	if err != nil {
		return err
	}
	c.part("UKI", bytesOf(oci.SHA256(image), int64(len(image))))
	sections, err := uki.Sections(image)
	if err != nil {
		c.part("UKI sections", "unreadable: "+err.Error())
		return nil
	}
	if hash, err := uki.Hash(image); err == nil {
		c.part("UKI without its signature", fmt.Sprintf("%x", hash))
	}
	c.part("UKI signed", fmt.Sprint(uki.Signed(image)))
	for _, s := range sections {
		value := bytesOf(oci.SHA256(s.Data), int64(len(s.Data)))
		if (s.Name == uki.Cmdline || s.Name == uki.OSRelease) && isText(s.Data) {
			value = string(s.Data)
		}
		c.part("UKI section "+s.Name, value)
	}
	return nil
}

func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("%s: more than %d bytes", path, limit)
	}
	return raw, err
}

// reference adds the PCRs that the image's reference values state, and whose
// word they are.
func (m machineImage) reference(c *content) error {
	raw, err := readFile(m.ReferencePath(), maxReference)
	if err != nil {
		return err
	}
	c.part("reference values", bytesOf(oci.SHA256(raw), int64(len(raw))))
	values, envelope, err := parseReference(raw)
	if err != nil {
		c.part("reference statement", "unreadable: "+err.Error())
		return nil
	}
	var signers []string
	for _, s := range envelope.Signatures {
		signers = append(signers, s.KeyID)
	}
	c.part("reference values signed by", strings.Join(signers, " "))
	c.pcrs("", values.PCRs)
	for _, f := range values.Firmware {
		c.pcrs(fmt.Sprintf(" (firmware %s, Secure Boot %t)", oci.Digest(f.Firmware).Short(), f.SecureBoot), f.PCRs)
	}
	return nil
}

func parseReference(raw []byte) (values api.ReferenceValues, envelope sign.Envelope, err error) {
	if envelope, err = sign.ParseEnvelope(raw); err != nil {
		return values, envelope, err
	}
	statement, err := sign.Peek(envelope)
	if err != nil {
		return values, envelope, err
	}
	return values, envelope, json.Unmarshal(statement.Predicate, &values)
}

func (c *content) pcrs(where string, values map[string]string) {
	for _, n := range slices.Sorted(maps.Keys(values)) {
		c.part("PCR "+n+where, values[n])
	}
}
