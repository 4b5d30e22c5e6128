package disks

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/probe"
)

// A Binder seals passphrases in the machine's TPM, in the form in which clevis
// keeps them: a JWE in JSON's flattened form.
type Binder interface {
	// Seal takes the options of clevis' pin tpm2.
	Seal(ctx context.Context, passphrase []byte, pin json.RawMessage) (jwe json.RawMessage, err error)
	Open(ctx context.Context, jwe json.RawMessage) ([]byte, error)
}

func checkVolume(l types.Luks, tpm bool) error {
	switch {
	case l.Clevis.IsPresent() && !tpm:
		return errors.New("clevis.tpm2: this machine has no TPM")
	case text(l.Device) == "":
		return errors.New("device: not given")
	}
	return nil
}

func (s *stage) volumes(ctx context.Context, c types.Config) error {
	if len(c.Storage.Luks) == 0 {
		return nil
	}
	for i, l := range c.Storage.Luks {
		if err := s.await(ctx, *l.Device); err != nil {
			return ignition.At(err, "$.storage.luks[%d]", i)
		}
	}
	s.State.LuksPersistKeyFiles = map[string]string{}
	for i, l := range c.Storage.Luks {
		if err := s.volume(ctx, l); err != nil {
			return ignition.At(fmt.Errorf("volume %s: %w", l.Name, err), "$.storage.luks[%d]", i)
		}
	}
	return nil
}

// volume makes and opens one, or opens what is there. The key is kept for the
// files stage, unless the TPM keeps one in its place.
func (s *stage) volume(ctx context.Context, l types.Luks) error {
	v := volume{s: s, luks: l, dev: s.alias(*l.Device)}
	var err error
	if v.key, err = s.volumeKey(ctx, l); err != nil {
		return err
	}
	defer clear(v.key)
	reuse, err := v.reusable(ctx)
	if err == nil && !reuse {
		err = v.format(ctx)
	}
	if err == nil {
		err = v.open(ctx)
	}
	if err == nil && l.Clevis.IsPresent() {
		err = v.bind(ctx)
	}
	if err == nil && !(l.Clevis.IsPresent() && isEmpty(l.KeyFile.Source)) {
		s.State.LuksPersistKeyFiles[l.Name] = "data:application/octet-stream;base64," + base64.StdEncoding.EncodeToString(v.key)
	}
	return err
}

// volumeKey is the config's, or a random one: hexadecimal, as clevis stops at
// line ends.
func (s *stage) volumeKey(ctx context.Context, l types.Luks) ([]byte, error) {
	if isEmpty(l.KeyFile.Source) {
		raw := make([]byte, 4096)
		if _, err := io.ReadFull(s.Rand, raw); err != nil {
			return nil, fmt.Errorf("random key: %w", err)
		}
		return hex.AppendEncode(nil, raw), nil
	}
	if s.Fetch == nil {
		return nil, errors.New("keyFile: nothing can be fetched here")
	}
	var b bytes.Buffer
	if err := s.Fetch(ctx, l.KeyFile, &b); err != nil {
		return nil, fmt.Errorf("keyFile: %w", err)
	}
	return b.Bytes(), nil
}

type volume struct {
	s    *stage
	luks types.Luks
	dev  string
	key  []byte
}

// reusable says whether the device has just the volume that the config wants;
// anything else on it is refused.
func (v volume) reusable(ctx context.Context) (bool, error) {
	found, err := v.s.look(v.dev)
	if err != nil || v.s.isCutOff(v.dev) {
		return false, err
	}
	if kept, err := KeepsVolume(v.luks, found); !kept || err != nil {
		return false, err
	}
	flags, err := v.flags(ctx)
	if err != nil {
		return false, fmt.Errorf("%w: a volume that is not LUKS2: %w", ErrOther, err)
	}
	if got, want := slices.Contains(flags, "allow-discards"), isTrue(v.luks.Discard); got != want {
		return false, fmt.Errorf("%w: a volume whose discard is %v instead of %v", ErrOther, got, want)
	}
	return true, nil
}

// KeepsVolume says whether what a device has may be the volume that the config
// wants, as far as its label and UUID tell. It is ErrOther where neither that
// nor a wipe is allowed.
func KeepsVolume(l types.Luks, found probe.Found) (bool, error) {
	switch {
	case isTrue(l.WipeVolume) || found.Type == "":
		return false, nil
	case found.Type != "crypto_LUKS":
		return false, fmt.Errorf("%w: %s, label %q", ErrOther, found.Type, found.Label)
	case l.Clevis.IsPresent():
		return false, fmt.Errorf("%w: a volume, which can't be used again with clevis", ErrOther)
	case isEmpty(l.KeyFile.Source):
		return false, fmt.Errorf("%w: a volume, which can be used again with a keyFile only", ErrOther)
	case l.Label != nil && *l.Label != found.Label:
		return false, fmt.Errorf("%w: a volume with label %q instead of %q", ErrOther, found.Label, *l.Label)
	case l.UUID != nil && *l.UUID != found.UUID:
		return false, fmt.Errorf("%w: a volume with UUID %s instead of %s", ErrOther, found.UUID, *l.UUID)
	}
	return true, nil
}

// metadata is what we read of a volume's: LUKS2 On-Disk Format, section 3.
type metadata struct {
	Config struct {
		Flags []string `json:"flags"`
	} `json:"config"`
	Keyslots map[string]json.RawMessage `json:"keyslots"`
}

func (v volume) metadata(ctx context.Context) (metadata, error) {
	var m metadata
	out, err := v.s.Exec(ctx, Command{Name: "cryptsetup", Args: []string{"luksDump", "--dump-json-metadata", v.dev}})
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(out, &m)
}

func (v volume) flags(ctx context.Context) ([]string, error) {
	m, err := v.metadata(ctx)
	return m.Config.Flags, err
}

// quick is for keys that are random: a slow derivation would keep nobody out.
var quick = []string{"--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"}

// isTemporary says that the key is random and taken away again once the TPM
// holds another.
func (v volume) isTemporary() bool {
	return v.luks.Clevis.IsPresent() && isEmpty(v.luks.KeyFile.Source)
}

// saysHow tells whether the config says how keys are derived.
func (v volume) saysHow() bool {
	return slices.ContainsFunc(v.luks.Options, func(o types.LuksOption) bool {
		return strings.HasPrefix(string(o), "--pbkdf") || strings.HasPrefix(string(o), "-i") || strings.HasPrefix(string(o), "--iter-time")
	})
}

func (v volume) format(ctx context.Context) error {
	if err := wipeDevice(v.dev); err != nil {
		return fmt.Errorf("wipe: %w", err)
	}
	args := []string{"luksFormat", "--batch-mode", "--type", "luks2", "--key-file", SecretPath(0)}
	if !isEmpty(v.luks.Label) {
		args = append(args, "--label", *v.luks.Label)
	}
	if !isEmpty(v.luks.UUID) {
		args = append(args, "--uuid", *v.luks.UUID)
	}
	if v.s.Mark != nil {
		args = append(args, "--subsystem", v.s.Mark.subsystem())
	}
	if v.isTemporary() && !v.saysHow() {
		args = append(args, quick...)
	}
	for _, o := range v.luks.Options {
		args = append(args, string(o))
	}
	return v.cryptsetup(ctx, append(args, v.dev), v.key)
}

// open keeps its options in the volume, so that later boots open it alike.
func (v volume) open(ctx context.Context) error {
	args := []string{"luksOpen", v.dev, v.luks.Name, "--key-file", SecretPath(0), "--persistent"}
	if isTrue(v.luks.Discard) {
		args = append(args, "--allow-discards")
	}
	for _, o := range v.luks.OpenOptions {
		args = append(args, string(o))
	}
	return v.cryptsetup(ctx, args, v.key)
}

func (v volume) cryptsetup(ctx context.Context, args []string, secrets ...[]byte) error {
	_, err := v.s.Exec(ctx, Command{Name: "cryptsetup", Args: args, Secrets: secrets})
	return err
}

// bind adds a random key that the TPM holds, proves that it opens the volume,
// and only then takes the generated one away.
func (v volume) bind(ctx context.Context) error {
	passphrase, err := v.passphrase()
	if err != nil {
		return err
	}
	defer clear(passphrase)
	jwe, err := v.s.Bind.Seal(ctx, passphrase, v.pin())
	if err != nil {
		return fmt.Errorf("clevis: %w", err)
	}
	before, err := v.metadata(ctx)
	if err != nil {
		return err
	}
	slot := freeSlot(before.Keyslots)
	args := append([]string{"luksAddKey", "--batch-mode", "--key-file", SecretPath(0), "--key-slot", slot}, quick...)
	if err := v.cryptsetup(ctx, append(args, v.dev, SecretPath(1)), v.key, passphrase); err != nil {
		return err
	}
	token, err := json.Marshal(map[string]any{"type": "clevis", "keyslots": []string{slot}, "jwe": jwe})
	if err != nil {
		return err
	}
	if _, err := v.s.Exec(ctx, Command{Name: "cryptsetup", Args: []string{"token", "import", v.dev}, Input: token}); err != nil {
		return err
	}
	if err := v.prove(ctx, jwe); err != nil {
		return fmt.Errorf("clevis: the volume does not open by the TPM: %w", err)
	}
	if v.isTemporary() {
		err = v.cryptsetup(ctx, []string{"luksRemoveKey", "--batch-mode", v.dev, SecretPath(0)}, v.key)
	}
	if err != nil || v.s.Mark == nil {
		return err
	}
	return v.seal(ctx)
}

func (v volume) prove(ctx context.Context, jwe json.RawMessage) error {
	passphrase, err := v.s.Bind.Open(ctx, jwe)
	if err != nil {
		return err
	}
	defer clear(passphrase)
	return v.cryptsetup(ctx, []string{"luksOpen", "--test-passphrase", v.dev, "--key-file", SecretPath(0)}, passphrase)
}

// pin is clevis' configuration of tpm2: the config's own, or none.
func (v volume) pin() json.RawMessage {
	if raw := strings.TrimSpace(text(v.luks.Clevis.Custom.Config)); raw != "" {
		return json.RawMessage(raw)
	}
	if v.s.Pin != nil {
		return v.s.Pin
	}
	return json.RawMessage("{}")
}

func (v volume) passphrase() ([]byte, error) {
	raw := make([]byte, 32)
	if _, err := io.ReadFull(v.s.Rand, raw); err != nil {
		return nil, fmt.Errorf("random passphrase: %w", err)
	}
	return base64.RawURLEncoding.AppendEncode(nil, raw), nil
}

func freeSlot(taken map[string]json.RawMessage) string {
	for i := 0; ; i++ {
		if slot := fmt.Sprint(i); taken[slot] == nil {
			return slot
		}
	}
}
