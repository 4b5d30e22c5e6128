package attack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"holdfast/internal/boot/cpio"
	"holdfast/internal/boot/fat"
	"holdfast/internal/boot/uki"
	"holdfast/internal/keys"
)

// ukiSections are the sections of a kernel image: systemd-stub's own, and
// what it is joined with. That they are all is checked in each attack.
var ukiSections = []string{".text", ".reloc", ".data", ".dynamic", ".rela", ".dynsym", ".sbat", ".sdmagic",
	uki.OSRelease, uki.Cmdline, uki.Initrd, uki.Linux}

const (
	onlySigned  = "firmware starts nothing that our key has not signed, byte for byte"
	onlyTrusted = "a signature is not enough: the broker trusts images one by one"
)

// denied is how firmware says that a signature is not good.
var denied = Refusal{Firmware, "Access Denied"}

func ukiAttacks() []Attack {
	list := []Attack{
		ukiAttack("uki-unsigned", "the kernel image's signature is taken off", uki.Unsigned),
		{Name: "uki-signed-by-another", Group: "boot", Promise: onlySigned, Change: "the kernel image is signed by the db key of another installation",
			Boots: true, Want: denied, Control: bootControl, Run: signedByAnother},
		booted("boot", "uki-signed-by-kek", onlySigned, "the kernel image is signed by the key that may change db, which is not in db", denied,
			func(_ context.Context, t *target) error {
				image, err := t.uki()
				if err != nil {
					return err
				}
				image, err = resign(image, t.ring.Pair(keys.KEK))
				return errors.Join(err, t.putUKI(image))
			}),
		ukiAttack("uki-header-flipped", "a byte of the kernel image's PE header is flipped: its time stamp", func(image []byte) ([]byte, error) {
			const timeStamp = 8 // behind the PE signature
			image[int(image[60])|int(image[61])<<8+timeStamp] ^= 0xff
			return image, nil
		}),
		ukiAttack("uki-signature-flipped", "a byte of the kernel image's Authenticode signature is flipped", func(image []byte) ([]byte, error) {
			image[len(image)-64] ^= 0xff // within the RSA signature, which is last
			return image, nil
		}),
	}
	for _, name := range ukiSections {
		list = append(list, ukiAttack("uki-flipped-"+strings.TrimPrefix(name, "."), "a byte of section "+name+" is flipped",
			func(image []byte) ([]byte, error) {
				if err := allSections(image); err != nil {
					return nil, err
				}
				data, err := section(image, name)
				if err == nil {
					data[len(data)/2] ^= 0xff
				}
				return image, err
			}))
	}
	return append(list, resignedAttacks()...)
}

// ukiAttack puts a changed kernel image, whose signature stays as it is.
func ukiAttack(name, what string, change func([]byte) ([]byte, error)) Attack {
	return booted("boot", name, onlySigned, what, denied, func(_ context.Context, t *target) error {
		image, err := t.uki()
		if err != nil {
			return err
		}
		if image, err = change(image); err != nil {
			return err
		}
		return t.putUKI(image)
	})
}

// allSections makes sure that no section goes without an attack.
func allSections(image []byte) error {
	sections, err := uki.Sections(image)
	for _, s := range sections {
		if !slices.Contains(ukiSections, s.Name) {
			err = errors.Join(err, fmt.Errorf("the kernel image has a section %s that no attack flips", s.Name))
		}
	}
	return err
}

func signedByAnother(ctx context.Context, l *Lab) (Refusal, error) {
	other, err := l.foreignKeys(ctx)
	if err != nil {
		return Refusal{}, err
	}
	return l.attacked(ctx, "uki-signed-by-another", func(_ context.Context, t *target) error {
		image, err := t.uki()
		if err != nil {
			return err
		}
		image, err = resign(image, other.Pair(keys.DB))
		return errors.Join(err, t.putUKI(image))
	})
}

// foreignKeys are those of another installation.
func (l *Lab) foreignKeys(ctx context.Context) (*keys.Ring, error) {
	return Shared(l, "foreign keys", func() (*keys.Ring, error) {
		return keys.Init(ctx, filepath.Join(l.dir, "foreign-keys"), time.Now())
	})
}

// notTrusted is what the broker says of a kernel image that it does not know.
var notTrusted = Refusal{Broker, "no trusted image has it"}

// resignedAttacks are made by somebody who has our db key: firmware starts what
// they made, and the broker must refuse it.
func resignedAttacks() []Attack {
	return []Attack{
		resigned("cmdline-signed", "a space of the kernel's command line becomes a tab, signed with our key", notTrusted, func(image []byte) error {
			return replaced(image, uki.Cmdline, "console=ttyS0 ", "console=ttyS0\t")
		}),
		resigned("kernel-signed", "the kernel is another, by a letter of its version, signed with our key", notTrusted, func(image []byte) error {
			return replaced(image, uki.Linux, "-cloud-amd64 (", "-Cloud-amd64 (")
		}),
		resigned("stub-signed", "the stub is another, by a letter, signed with our key", Refusal{Broker, "PCR 4 is"}, func(image []byte) error {
			return replaced(image, ".sbat", "systemd", "systemD")
		}),
		booted("boot", "initramfs-signed", onlyTrusted, "the initramfs has one more file, signed with our key", notTrusted,
			func(_ context.Context, t *target) error {
				image, err := t.uki()
				if err != nil {
					return err
				}
				image, err = t.withMore(image)
				return errors.Join(err, t.putUKI(image))
			}),
		booted("boot", "credential-planted", "what the stub hands to the kernel beside its image shows", "a systemd credential lies on the EFI partition, for all images",
			Refusal{Broker, "PCR 12 is"}, withFile("loader/credentials/evil.cred")),
		booted("boot", "credential-planted-beside", "what the stub hands to the kernel beside its image shows", "a systemd credential lies beside the kernel image",
			Refusal{Broker, "PCR 12 is"}, withFile("UKI.extra.d/evil.cred")),
		booted("boot", "extension-planted", "what the stub hands to the kernel beside its image shows", "a system extension lies beside the kernel image",
			Refusal{Broker, "PCR 13 is"}, withFile("UKI.extra.d/evil.raw")),
	}
}

// resigned changes the kernel image in place and signs it with our key.
func resigned(name, what string, want Refusal, change func([]byte) error) Attack {
	return booted("boot", name, onlyTrusted, what, want, func(_ context.Context, t *target) error {
		image, err := t.uki()
		if err != nil {
			return err
		}
		if err := change(image); err != nil {
			return err
		}
		image, err = t.signed(image)
		return errors.Join(err, t.putUKI(image))
	})
}

// replaced puts words of the same length for the first others in a section.
func replaced(image []byte, name, from, to string) error {
	data, err := section(image, name)
	if err != nil {
		return err
	}
	at := bytes.Index(data, []byte(from))
	if at < 0 {
		return fmt.Errorf("section %s does not say %q", name, from)
	}
	copy(data[at:], to)
	return nil
}

// withMore is the kernel image with one more archive behind its initramfs.
func (r *rig) withMore(image []byte) ([]byte, error) {
	stub, sections, err := uki.Split(image)
	if err != nil {
		return nil, err
	}
	const text = "let me in"
	var more bytes.Buffer
	archive := cpio.NewWriter(&more, r.guest.Date)
	err = errors.Join(archive.Add(cpio.File("evil", 0o644, int64(len(text)), strings.NewReader(text))), archive.Close())
	if err != nil {
		return nil, err
	}
	for i, s := range sections {
		if s.Name == uki.Initrd {
			padded := append(bytes.Clone(s.Data), make([]byte, -len(s.Data)&3)...)
			sections[i].Data = append(padded, more.Bytes()...)
		}
	}
	if image, err = uki.Build(stub, sections); err != nil {
		return nil, err
	}
	return r.signed(image)
}

// withFile plants a file on the EFI partition; "UKI" stands for the kernel
// image's own path.
func withFile(path string) host {
	return func(_ context.Context, t *target) error {
		image, err := t.uki()
		if err != nil {
			return err
		}
		const text = "let me in"
		return t.putUKI(image, fat.File{Path: strings.Replace(path, "UKI", t.guest.BootPath(), 1), Size: int64(len(text)), Content: strings.NewReader(text)})
	}
}
