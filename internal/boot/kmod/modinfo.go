package kmod

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// info is what a module's .modinfo section says that matters for loading.
type info struct {
	depends []string
	pre     []string // soft dependencies to be loaded before
	aliases []string
}

func (t *Tree) info(name string) (info, error) {
	if i, ok := t.infos[name]; ok {
		return i, nil
	}
	p := t.paths[name]
	f, err := t.open(p)
	if err != nil {
		return info{}, err
	}
	defer f.Close()
	i, err := readInfo(f)
	if err != nil {
		return info{}, fmt.Errorf("%s: %w", path.Base(p), err)
	}
	t.infos[name] = i
	return i, nil
}

// readInfo reads as little of the file as it can.
func readInfo(f io.Reader) (info, error) {
	r, ok := f.(io.ReaderAt)
	if !ok {
		b, err := io.ReadAll(f)
		if err != nil {
			return info{}, err
		}
		r = bytes.NewReader(b)
	}
	e, err := elf.NewFile(r)
	if err != nil {
		return info{}, err
	}
	section := e.Section(".modinfo")
	if section == nil {
		return info{}, errors.New("not a kernel module: it has no .modinfo section")
	}
	b, err := section.Data()
	if err != nil {
		return info{}, err
	}
	return parseInfo(b), nil
}

// parseInfo reads KEY=VALUE fields that end in NUL.
func parseInfo(b []byte) info {
	var i info
	for _, field := range strings.Split(string(b), "\x00") {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "depends":
			i.depends = append(i.depends, strings.FieldsFunc(value, func(r rune) bool { return r == ',' })...)
		case "softdep":
			i.pre = append(i.pre, softPre(value)...)
		case "alias":
			i.aliases = append(i.aliases, value)
		}
	}
	return i
}

// softPre reads "pre: a b post: c" as modprobe.d(5) has it.
func softPre(value string) []string {
	var pre []string
	inPre := false
	for _, word := range strings.Fields(value) {
		switch word {
		case "pre:":
			inPre = true
		case "post:":
			inPre = false
		default:
			if inPre {
				pre = append(pre, word)
			}
		}
	}
	return pre
}
