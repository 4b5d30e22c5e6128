package attack

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// What unpacking promises.
const (
	inside  = "a layer changes nothing outside of its container's root"
	limited = "an image takes no more of a machine than there is for it"
)

// unpacked shows that a plain image comes to a machine.
var unpacked = Control{Name: "a plain image is pulled and unpacked", Run: func(ctx context.Context, l *Lab) error {
	s, err := l.site(ctx)
	if err != nil {
		return err
	}
	w, err := s.plain("plain", archive(file("hello", []byte("hello"))))
	if err != nil {
		return err
	}
	rootfs, err := w.run(ctx, pull{})
	if err != nil {
		return err
	}
	got, err := os.ReadFile(filepath.Join(rootfs, "hello"))
	if err != nil || string(got) != "hello" {
		return errors.Join(fmt.Errorf("the file has %q", got), err)
	}
	return nil
}}

func unpackAttacks() []Attack {
	link := func(name, target string, kind byte) entry {
		return entry{tar.Header{Name: name, Linkname: target, Typeflag: kind, Mode: 0o777}, nil}
	}
	return in("image",
		bomb(),
		escaping("climbing-path", "a layer's file is called ../../../, and so on, to a file outside of its root", "kept inside the root", func(outside string) []layer {
			return []layer{archive(file(strings.Repeat("../", 40)+outside+"/canary", []byte("evil")))}
		}),
		escaping("climbing-link", "a layer links out of its root, and the next one writes through that link", "no such file", func(outside string) []layer {
			return []layer{archive(link("way", outside, tar.TypeSymlink)), archive(file("way/canary", []byte("evil")))}
		}),
		escaping("climbing-hard-link", "a layer wants a hard link to a file outside of its root, by way of a link", "no such file", func(outside string) []layer {
			return []layer{archive(link("way", outside, tar.TypeSymlink), link("stolen", "way/canary", tar.TypeLink))}
		}),
		escaping("climbing-whiteout", "a layer's whiteout takes away a file outside of its root, by way of a link", "kept inside the root", func(outside string) []layer {
			return []layer{archive(link("way", outside, tar.TypeSymlink)), archive(file("way/.wh.canary", nil))}
		}),
		escaping("device-node", "a layer brings a device: the machine's disk", "kept inside the root, which holds nothing", func(string) []layer {
			disk := link("disk", "", tar.TypeBlock)
			disk.Devmajor = 254
			return []layer{archive(disk)}
		}),
	)
}

// bomb is a few kilobytes that become 64 MiB, where there is room for 4.
func bomb() Attack {
	return Attack{Name: "decompression-bomb", Promise: limited, Change: "a layer of a few kilobytes unpacks to 64 MiB, where there is room for 4",
		Want: Refusal{Guest, "unpacks to more than"}, Control: unpacked,
		Run: func(ctx context.Context, l *Lab) (Refusal, error) {
			s, err := l.site(ctx)
			if err != nil {
				return Refusal{}, err
			}
			packer, err := zstd.NewWriter(nil)
			if err != nil {
				return Refusal{}, err
			}
			large := archive(file("zeros", make([]byte, 64<<20)))
			w, err := s.plain("decompression-bomb", layer{v1.MediaTypeImageLayerZstd, packer.EncodeAll(large.data, nil)})
			if err != nil {
				return Refusal{}, err
			}
			return w.refused(ctx, pull{space: 4 << 20})
		}}
}

// escaping is an attack by an image whose layers want out of the root. What
// they may neither change nor take is a folder beside it, with a canary.
func escaping(name, change, reason string, layers func(outside string) []layer) Attack {
	return Attack{Name: name, Promise: inside, Change: change, Want: Refusal{Guest, reason}, Control: unpacked,
		Run: func(ctx context.Context, l *Lab) (Refusal, error) {
			s, err := l.site(ctx)
			if err != nil {
				return Refusal{}, err
			}
			outside, err := l.Folder("outside")
			if err != nil {
				return Refusal{}, err
			}
			if err := os.WriteFile(filepath.Join(outside, "canary"), []byte(canary), 0o600); err != nil {
				return Refusal{}, err
			}
			w, err := s.plain(name, layers(outside)...)
			if err != nil {
				return Refusal{}, err
			}
			rootfs, err := w.run(ctx, pull{})
			if broke := escaped(outside); broke != nil {
				return Broke("%v", broke), nil
			}
			if err != nil {
				return Refusal{Guest, err.Error()}, nil
			}
			return contained(rootfs, outside)
		}}
}

// escaped says what changed outside.
func escaped(outside string) error {
	entries, err := os.ReadDir(outside)
	if err != nil {
		return err
	}
	got, err := os.ReadFile(filepath.Join(outside, "canary"))
	if err != nil || len(entries) != 1 || !bytes.Equal(got, []byte(canary)) {
		return fmt.Errorf("the folder beside the root holds %v now, and the canary %q", entries, got)
	}
	return nil
}

// contained says what became of the image inside.
func contained(rootfs, outside string) (Refusal, error) {
	theirs, err := os.Stat(filepath.Join(outside, "canary"))
	if err != nil {
		return Refusal{}, err
	}
	var names, devices, stolen []string
	err = filepath.WalkDir(rootfs, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		names = append(names, d.Name())
		if d.Type()&fs.ModeDevice != 0 {
			devices = append(devices, path)
		}
		info, err := d.Info()
		if err == nil && os.SameFile(info, theirs) {
			stolen = append(stolen, path)
		}
		return err
	})
	switch {
	case err != nil:
		return Refusal{}, err
	case len(devices) > 0:
		return Broke("there is a device %s", devices[0]), nil
	case len(stolen) > 0:
		return Broke("%s is a file of outside", stolen[0]), nil
	case len(names) == 0:
		return Refusal{Guest, "kept inside the root, which holds nothing"}, nil
	}
	return Refusal{Guest, "kept inside the root, which holds " + strings.Join(names, ", ")}, nil
}
