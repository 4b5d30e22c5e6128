package attack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"holdfast/internal/api"
	"holdfast/internal/boot/efivar"
	"holdfast/internal/boot/guid"
	"holdfast/internal/boot/uki"
	"holdfast/internal/keys"
	"holdfast/internal/sign"
	"holdfast/internal/swtpm"
)

const (
	keysShow   = "which keys firmware obeys, and whether it does, shows in PCR 7"
	configured = "a machine runs under a configuration that an administrator allowed, whole"
	endorsed   = "only a TPM of a maker that the broker trusts can prove anything"
)

// secureBootEnable is EDK II's switch: SecurityPkg, AuthenticatedVariableFormat.h.
var secureBootEnable = efivar.Variable{Name: "SecureBootEnable", Attributes: 3, Data: []byte{0},
	Vendor: guid.Must("f0a30bc7-af08-4556-99c4-001009c93a44")}

func firmwareAttacks() []Attack {
	other := Refusal{Broker, "PCR 7 is"}
	return []Attack{
		variablesAttack("pk-removed", "the owner's key is removed from the firmware, which then demands no signatures", other, without("PK")),
		variablesAttack("kek-removed", "the key that may change db is removed from the firmware", Refusal{Broker, "secure boot was enabled but no key exchange keys were known"}, without("KEK")),
		variablesAttack("db-removed", "db is removed from the firmware: no key is trusted", denied, without("db")),
		variablesAttack("secure-boot-off", "Secure Boot is switched off in the firmware", other, func(_ *rig, have []efivar.Variable) []efivar.Variable {
			return append(have, secureBootEnable)
		}),
		{Name: "db-added", Group: "firmware", Promise: keysShow, Change: "another's key is added to db", Boots: true, Want: other, Control: bootControl,
			Run: func(ctx context.Context, l *Lab) (Refusal, error) {
				return l.foreignDB(ctx, "db-added", func(image []byte, _ *keys.Ring) ([]byte, error) { return image, nil })
			}},
		{Name: "db-added-used", Group: "firmware", Promise: keysShow, Change: "another's key is added to db, and signs the kernel image", Boots: true, Want: other, Control: bootControl,
			Run: func(ctx context.Context, l *Lab) (Refusal, error) {
				return l.foreignDB(ctx, "db-added-used", func(image []byte, by *keys.Ring) ([]byte, error) {
					return resign(image, by.Pair(keys.DB))
				})
			}},
		booted("firmware", "unsigned-under-no-keys", keysShow, "the firmware has no keys at all, and the kernel image no signature", other,
			func(_ context.Context, t *target) error {
				image, err := t.uki()
				if err != nil {
					return err
				}
				image, err = uki.Unsigned(image)
				return errors.Join(err, t.putUKI(image), t.variables(func([]efivar.Variable) []efivar.Variable { return nil }))
			}),
		booted("firmware", "kernel-from-host", "nothing that firmware did not check can show what it would have measured",
			"the host hands kernel, initramfs and command line to the firmware itself, past the disk", Refusal{Broker, "secure boot was enabled but no key was used"}, kernelFromHost),
	}
}

func variablesAttack(name, what string, want Refusal, change func(*rig, []efivar.Variable) []efivar.Variable) Attack {
	return booted("firmware", name, keysShow, what, want, func(_ context.Context, t *target) error {
		return t.variables(func(have []efivar.Variable) []efivar.Variable { return change(t.rig, have) })
	})
}

func without(name string) func(*rig, []efivar.Variable) []efivar.Variable {
	return func(_ *rig, have []efivar.Variable) []efivar.Variable {
		return slices.DeleteFunc(have, func(v efivar.Variable) bool { return v.Name == name })
	}
}

// foreignDB adds the db key of another installation to the firmware's.
func (l *Lab) foreignDB(ctx context.Context, name string, change func([]byte, *keys.Ring) ([]byte, error)) (Refusal, error) {
	other, err := l.foreignKeys(ctx)
	if err != nil {
		return Refusal{}, err
	}
	theirs := efivar.Keys{PK: other.Pair(keys.PK).Certificate, KEK: other.Pair(keys.KEK).Certificate, DB: other.Pair(keys.DB).Certificate}.Variables()
	return l.attacked(ctx, name, func(_ context.Context, t *target) error {
		image, err := t.uki()
		if err != nil {
			return err
		}
		image, err = change(image, other)
		return errors.Join(err, t.putUKI(image), t.variables(func(have []efivar.Variable) []efivar.Variable {
			for i := range have {
				if have[i].Name == "db" {
					have[i].Data = append(slices.Clone(have[i].Data), theirs[2].Data...)
				}
			}
			return have
		}))
	})
}

// kernelFromHost has QEMU hand over what is in the kernel image.
func kernelFromHost(_ context.Context, t *target) error {
	image, err := t.uki()
	if err != nil {
		return err
	}
	words := map[string]string{uki.Linux: "-kernel", uki.Initrd: "-initrd"}
	for name, word := range words {
		data, err := section(image, name)
		if err != nil {
			return err
		}
		path := filepath.Join(t.dir, "host"+name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return err
		}
		t.Extra = append(t.Extra, word, path)
	}
	t.Extra = append(t.Extra, "-append", t.guest.Cmdline)
	return nil
}

func handoverAttacks() []Attack {
	unauthorised := Refusal{Broker, "is not authorised"}
	return []Attack{
		configAttack("handover-changed", "a word of the workload's environment is added to the configuration", unauthorised,
			func(c *api.GuestConfig) { c.Process.Env = append(c.Process.Env, "DEBUG=1") }),
		configAttack("handover-widened", "the configuration allows the host one call more", unauthorised,
			func(c *api.GuestConfig) { c.Control = append(c.Control, api.CallStdin) }),
		configAttack("handover-brokerless", "the configuration names no broker and no secrets, so that none is asked", Refusal{Guest, "it is encrypted, and there is no broker"},
			func(c *api.GuestConfig) { c.Broker, c.Secrets = api.Endpoint{}, nil }),
		configAttack("handover-invented", "the configuration allows a call that there is not", Refusal{Node, `config: holdfast.json: unknown control call "exec"`},
			func(c *api.GuestConfig) { c.Control = append(c.Control, "exec") }),
		booted("configuration", "handover-removed", configured, "the host hands over no configuration",
			Refusal{Node, "config: the host handed over no opt/holdfast/initdata"}, func(_ context.Context, t *target) error {
				t.InitData = nil
				return nil
			}),
		booted("configuration", "handover-doubled", configured, "the configuration is there twice in its document: the second is to be the one that counts",
			Refusal{Node, "config: init-data: "}, func(_ context.Context, t *target) error {
				at := strings.Index(string(t.InitData), "[data]")
				if at < 0 {
					return errors.New("the document has no table of data")
				}
				t.InitData = append(slices.Clone(t.InitData), t.InitData[at:]...)
				return nil
			}),
		booted("configuration", "handover-name-doubled", configured, "a name of the configuration is there twice: one reads the first, another the last",
			Refusal{Node, `config: holdfast.json: name "image" is there twice`}, func(_ context.Context, t *target) error {
				return t.configure(func(raw []byte) ([]byte, error) {
					return append([]byte(`{"image":"evil",`), raw[1:]...), nil
				})
			}),
		booted("configuration", "handover-huge", configured, "the configuration is larger than a machine reads",
			Refusal{Node, "want 1 to 1048576"}, func(_ context.Context, t *target) error {
				t.InitData = append(slices.Clone(t.InitData), []byte("\n#"+strings.Repeat("x", 1<<20))...)
				return nil
			}),
	}
}

func configAttack(name, what string, want Refusal, change func(*api.GuestConfig)) Attack {
	return booted("configuration", name, configured, what, want, func(_ context.Context, t *target) error {
		return t.configure(func(raw []byte) ([]byte, error) {
			var c api.GuestConfig
			if err := json.Unmarshal(raw, &c); err != nil {
				return nil, err
			}
			change(&c)
			return json.Marshal(c)
		})
	})
}

func hardwareAttacks() []Attack {
	return []Attack{
		booted("evidence", "machine-tpm-swapped", endorsed, "the machine's TPM is one of another maker", Refusal{Broker, "endorsement"}, swapTPM),
		booted("evidence", "machine-tpm-removed", endorsed, "the machine has no TPM", Refusal{Node, "config: the machine has no TPM"},
			func(_ context.Context, t *target) error {
				err := t.TPM.Close()
				t.TPM = nil
				return err
			}),
	}
}

func swapTPM(ctx context.Context, t *target) error {
	dir := filepath.Join(t.dir, "foreign-tpm")
	if err := swtpm.Manufacture(ctx, swtpm.Config{Dir: dir, CADir: filepath.Join(t.dir, "foreign-ca")}); err != nil {
		return err
	}
	other, err := swtpm.Start(context.WithoutCancel(ctx), dir)
	if err != nil {
		return err
	}
	err = t.TPM.Close()
	t.TPM = other
	return err
}

// superseded has the broker trust the image's successor instead.
func superseded(ctx context.Context, t *target) error {
	list, err := t.admin.Images(ctx)
	if err != nil {
		return err
	}
	values := api.ReferenceValues{Image: "successor", PCRs: map[string]string{"11": strings.Repeat("ab", 32)},
		Firmware: []api.FirmwareReference{}}
	statement, err := sign.NewStatement(api.ReferenceType, values)
	if err != nil {
		return err
	}
	envelope, err := sign.Seal(statement, t.ring.Statements())
	if err != nil {
		return err
	}
	raw, err := json.Marshal(envelope)
	if err != nil {
		return err
	}
	err = t.admin.Trust(ctx, raw)
	for _, image := range list {
		err = errors.Join(err, t.admin.Distrust(ctx, image.ID))
	}
	return err
}

// configure changes the JSON in the machine's configuration.
func (t *target) configure(change func([]byte) ([]byte, error)) error {
	var document map[string]any
	if err := toml.Unmarshal(t.InitData, &document); err != nil {
		return err
	}
	data, _ := document["data"].(map[string]any)
	text, ok := data[api.GuestConfigKey].(string)
	if !ok {
		return fmt.Errorf("the document has no %s", api.GuestConfigKey)
	}
	raw, err := change([]byte(text))
	if err != nil {
		return err
	}
	data[api.GuestConfigKey] = string(raw)
	t.InitData, err = toml.Marshal(document)
	return err
}
