package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/BurntSushi/toml"

	"holdfast/internal/api"
)

// fwcfgDir is where the module qemu_fw_cfg shows what the host handed over.
const fwcfgDir = "/sys/firmware/qemu_fw_cfg/by_name"

// maxInitData bounds the document: it is read before anything is known of it.
const maxInitData = 1 << 20

// A Measurer extends the digest of the configuration into the register that
// evidence shows (PCR 8), once, with a logged event.
type Measurer interface {
	MeasureInitData(ctx context.Context, document []byte) (sum [sha256.Size]byte, err error)
}

// A configuration is what a document says.
type configuration struct {
	document []byte // as it was measured
	guest    api.GuestConfig
	ignition []byte // nil: the machine is as its image has it
}

// configure reads the configuration document, measures it, and only then
// looks into it.
func configure(ctx context.Context, m Measurer, dir string) (c configuration, err error) {
	document, err := readInitData(filepath.Join(dir, api.InitDataFile))
	if err != nil {
		return c, err
	}
	if m == nil {
		return c, errors.New("nothing to measure the configuration with")
	}
	if _, err := m.MeasureInitData(ctx, document); err != nil {
		return c, err
	}
	return parseInitData(document)
}

// readInitData asks for the size first: the kernel reads the device byte by
// byte, again from its start for every page.
func readInitData(dir string) ([]byte, error) {
	size, err := readInt(filepath.Join(dir, "size"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("the host handed over no %s", api.InitDataFile)
	case err != nil:
		return nil, err
	case size <= 0 || size > maxInitData:
		return nil, fmt.Errorf("%s has %d bytes, want 1 to %d", api.InitDataFile, size, maxInitData)
	}
	f, err := os.Open(filepath.Join(dir, "raw"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	document := make([]byte, size)
	if _, err := io.ReadFull(f, document); err != nil {
		return nil, fmt.Errorf("read %s: %w", api.InitDataFile, err)
	}
	return document, nil
}

// maxDepth is more than a configuration nests.
const maxDepth = 16

// initDataKeys are all that a document may have.
var initDataKeys = []toml.Key{{"version"}, {"algorithm"}, {"data"}, {"data", api.GuestConfigKey}, {"data", api.IgnitionKey}}

// parseInitData is strict: what was measured and is not understood might have
// been meant as a restriction.
// https://github.com/confidential-containers/trustee/blob/main/kbs/docs/initdata.md
func parseInitData(document []byte) (c configuration, err error) {
	var d struct {
		Version   string            `toml:"version"`
		Algorithm string            `toml:"algorithm"`
		Data      map[string]string `toml:"data"`
	}
	meta, err := toml.Decode(string(document), &d)
	if err != nil {
		return c, fmt.Errorf("init-data: %w", err)
	}
	for _, key := range meta.Keys() { // the decoder alone would take "Data" for "data"
		if !slices.ContainsFunc(initDataKeys, func(known toml.Key) bool { return slices.Equal(known, key) }) {
			return c, fmt.Errorf("init-data: unknown key %q", key.String())
		}
	}
	switch text, ok := d.Data[api.GuestConfigKey]; {
	case d.Version != "0.1.0":
		return c, fmt.Errorf("init-data: version %q, want 0.1.0", d.Version)
	case d.Algorithm != "sha256":
		return c, fmt.Errorf("init-data: algorithm %q, want sha256", d.Algorithm)
	case !ok:
		return c, fmt.Errorf("init-data: no %q in [data]", api.GuestConfigKey)
	default:
		c.document = document
		if ignition, ok := d.Data[api.IgnitionKey]; ok {
			c.ignition = []byte(ignition)
		}
		c.guest, err = parseGuestConfig([]byte(text))
		return c, err
	}
}

func parseGuestConfig(text []byte) (c api.GuestConfig, err error) {
	if err := plainNames(json.NewDecoder(bytes.NewReader(text)), maxDepth); err != nil {
		return c, fmt.Errorf("%s: %w", api.GuestConfigKey, err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return c, fmt.Errorf("%s: %w", api.GuestConfigKey, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return c, fmt.Errorf("%s: something follows the configuration", api.GuestConfigKey)
	}
	if err := c.Check(); err != nil {
		return c, fmt.Errorf("%s: %w", api.GuestConfigKey, err)
	}
	return c, nil
}

// plainName is what a configuration's names are made of. Lower case alone is
// not enough: encoding/json folds "ſ" (U+017F) to "s".
var plainName = regexp.MustCompile(`^[a-z0-9_.-]*$`)

// plainNames refuses a second spelling of a name, "Image" for "image", and the
// same name twice: encoding/json takes both, and whoever authorises the
// document may have read the other one.
func plainNames(d *json.Decoder, depth int) error {
	token, err := d.Token()
	if err == nil && depth == 0 {
		err = errors.New("values are nested too deep")
	}
	if err != nil {
		return err
	}
	open, nested := token.(json.Delim)
	seen := make(map[string]bool)
	for nested && d.More() {
		if open == '{' {
			name, err := d.Token()
			if err != nil {
				return err
			}
			text, _ := name.(string)
			if seen[text] || !plainName.MatchString(text) {
				return fmt.Errorf("name %.40q is there twice, or not in lower case", text)
			}
			seen[text] = true
		}
		if err := plainNames(d, depth-1); err != nil {
			return err
		}
	}
	if nested {
		_, err = d.Token()
	}
	return err
}
