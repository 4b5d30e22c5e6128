package disks

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"holdfast/internal/boot/gpt"
)

// Resolve finds the device that a path means now. A link in /dev/disk that
// tells a name the device no longer has is one that udev has still to take
// away. Where no udev runs, those names are looked for on all devices.
func Resolve(dev string) (string, error) {
	kind, name := udevName(dev)
	target, err := filepath.EvalSymlinks(dev)
	if err == nil {
		if kind != "" && !hasName(target, kind, name) {
			return "", fmt.Errorf("%s leads to %s, which has another name: %w", dev, target, fs.ErrNotExist)
		}
		return target, nil
	}
	if kind == "" || runsUdev() {
		return "", err
	}
	return search(dev, kind, name)
}

// udevName splits /dev/disk/by-label/x into label and x: only names that can
// be read off a device.
func udevName(dev string) (kind, name string) {
	rest, ok := strings.CutPrefix(filepath.Clean(dev), "/dev/disk/by-")
	kind, name, _ = strings.Cut(rest, "/")
	switch kind {
	case "label", "uuid", "partlabel", "partuuid":
		if ok {
			return kind, name
		}
	}
	return "", ""
}

func search(dev, kind, name string) (string, error) {
	devices, err := os.ReadDir("/sys/class/block")
	if err != nil {
		return "", err
	}
	for _, d := range devices {
		path := filepath.Join("/dev", strings.ReplaceAll(d.Name(), "!", "/"))
		if got := namesOf(path); got.names[kind] == name {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: on no device: %w", dev, fs.ErrNotExist)
}

// hasName is true in doubt: what we cannot read others may.
func hasName(path, kind, name string) bool {
	got := namesOf(path)
	part := strings.HasPrefix(kind, "part")
	if part && !got.partition || !part && !got.content {
		return true
	}
	return got.names[kind] == name
}

type names struct {
	names              map[string]string
	content, partition bool // could be read
}

func namesOf(path string) names {
	n := names{names: map[string]string{}}
	if found, err := probeDevice(path); err == nil && found.Type != "" {
		n.content = true
		n.names["label"], n.names["uuid"] = encode(found.Label), found.UUID
	}
	if e, ok := entryOf(path); ok {
		n.partition = true
		n.names["partlabel"], n.names["partuuid"] = encode(e.Name), e.GUID.String()
	}
	return n
}

// entryOf finds a partition in the table of its disk.
func entryOf(path string) (gpt.Entry, bool) {
	sys, err := filepath.EvalSymlinks(filepath.Join("/sys/class/block", filepath.Base(path)))
	if err != nil {
		return gpt.Entry{}, false
	}
	number, _, err := partitionOf(sys)
	if err != nil {
		return gpt.Entry{}, false
	}
	d, err := openDevice(filepath.Join("/dev", filepath.Base(filepath.Dir(sys))), os.O_RDONLY)
	if err != nil {
		return gpt.Entry{}, false
	}
	defer d.Close()
	t, err := gpt.Load(d, d.size, d.sector)
	if err != nil {
		return gpt.Entry{}, false
	}
	return t.Lookup(number)
}

// encode writes a label as udev does in the names of links: systemd's
// udev_util.c calls all other characters unsafe.
func encode(label string) string {
	var b strings.Builder
	for i := 0; i < len(label); {
		r, n := utf8.DecodeRuneInString(label[i:])
		safe := n > 1 || strings.ContainsRune("#+-.:=@_", r) ||
			'0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if safe {
			b.WriteString(label[i : i+n])
		} else {
			fmt.Fprintf(&b, `\x%02x`, label[i])
		}
		i += n
	}
	return b.String()
}
