package tmpfiles

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"

	"holdfast/internal/ignition/systime"
	"holdfast/internal/supervise/quoted"
)

// maxLine is systemd's for a line.
const maxLine = 1 << 20

// types are the subset, with what they do.
var types = map[byte]string{
	'd': "make a folder", 'D': "make a folder, and empty it at boot", 'f': "make a file that is not there", 'F': "make a file, or write it anew",
	'w': "write to a file that is there; w+ appends", 'L': "make a symbolic link; L+ replaces what is there", 'C': "copy a file or folder that is not there",
	'z': "set mode and owner", 'Z': "set mode and owner of all below, too", 'e': "set mode and owner of a folder that is there, and clean it up",
	'r': "remove at boot", 'R': "remove with all below at boot", 'x': "do not clean up, nor what is below", 'X': "do not clean up",
	'v': "as d", 'q': "as d", 'Q': "as d", 'p': "make a pipe; p+ replaces what is there",
}

// Parse reads a file's lines.
func Parse(file string, raw []byte, h Host) (list []Line, wrong []Problem) {
	if i := bytes.IndexByte(raw, 0); i >= 0 {
		return nil, []Problem{{file, 1 + bytes.Count(raw[:i], []byte("\n")), "has a NUL in it"}}
	}
	number := 0
	for text := range strings.SplitSeq(string(raw), "\n") {
		number++
		text = strings.TrimSpace(text)
		if text == "" || text[0] == '#' {
			continue
		}
		l, err := parseLine(text, h)
		if err != nil {
			wrong = append(wrong, Problem{file, number, err.Error()})
			continue
		}
		l.File, l.Number = file, number
		list = append(list, l)
	}
	return list, wrong
}

func parseLine(text string, h Host) (l Line, err error) {
	if len(text) > maxLine || !utf8.ValidString(text) {
		return l, fmt.Errorf("the line has more than %d bytes, or is not UTF-8", maxLine)
	}
	fields, rest, err := fields(text)
	if err != nil {
		return l, err
	}
	if len(fields) < 2 || fields[0] == "" {
		return l, errors.New("the line has no path")
	}
	l = Line{Mode: -1, Age: -1}
	if err := l.kind(fields[0]); err != nil {
		return l, err
	}
	for _, set := range []struct {
		field int
		read  func(string) error
	}{
		{1, func(v string) error { return l.place(v, h) }}, {2, l.mode}, {3, func(v string) error { return account(v, &l.User, &l.UserOnce) }},
		{4, func(v string) error { return account(v, &l.Group, &l.GroupOnce) }}, {5, l.age},
	} {
		if set.field < len(fields) && fields[set.field] != "-" && fields[set.field] != "" {
			if err := set.read(fields[set.field]); err != nil {
				return l, err
			}
		}
	}
	if l.Path == "" {
		return l, errors.New("the line has no path")
	}
	return l, l.argument(rest, h)
}

// fields are the first six, in which quotes count; the argument is the rest.
func fields(text string) (list []string, rest string, err error) {
	for range 6 {
		word, more, found, err := quoted.Next(text)
		if err != nil {
			return nil, "", err
		}
		if !found {
			return list, "", nil
		}
		if strings.Contains(text[:len(text)-len(more)], `\`) {
			return nil, "", errors.New("a backslash before the argument is outside the subset: versions of systemd differ about it")
		}
		list, text = append(list, word), more
	}
	return list, strings.TrimSpace(text), nil
}

func (l *Line) kind(v string) error {
	if types[v[0]] == "" {
		return fmt.Errorf("the type %.20q is outside the subset", v)
	}
	l.Type = v[0]
	for _, m := range v[1:] {
		switch {
		case m == '+' && strings.IndexByte("wLpfC", l.Type) >= 0:
			l.Replace = true
		case m == '!':
			l.Boot = true
		case m == '-':
			l.Optional = true
		case m == '=' && strings.IndexByte("dDfFLCpvqQ", l.Type) >= 0:
			l.Force = true
		default:
			return fmt.Errorf("the modifier %c of the type %c is outside the subset", m, l.Type)
		}
	}
	if l.Type == 'f' && l.Replace {
		l.Type, l.Replace = 'F', false // the same, and the newer name (tmpfiles.d(5))
	}
	if strings.IndexByte("vqQ", l.Type) >= 0 {
		l.Type = 'd' // as where there is no btrfs
	}
	return nil
}

func (l *Line) place(v string, h Host) error {
	p, err := expand(v, h)
	if err != nil {
		return err
	}
	if !path.IsAbs(p) {
		return fmt.Errorf("the path %.60q is not absolute", v)
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." || part == "." {
			return fmt.Errorf("the path %.60q has . or .. in it", v)
		}
	}
	if l.Path = path.Clean(p); l.Path == "/" {
		return errors.New("the path is the root itself")
	}
	return nil
}

func (l *Line) mode(v string) error {
	for {
		if rest, ok := strings.CutPrefix(v, "~"); ok {
			v, l.Masked = rest, true
		} else if rest, ok := strings.CutPrefix(v, ":"); ok {
			v, l.ModeOnce = rest, true
		} else {
			break
		}
	}
	n, err := strconv.ParseUint(v, 8, 12)
	if err != nil {
		return fmt.Errorf("the mode %.20q is not octal digits up to 7777", v)
	}
	l.Mode = int(n)
	return nil
}

func account(v string, name *string, only *bool) error {
	*name, *only = strings.CutPrefix(v, ":")
	if *name == "" || strings.ContainsAny(*name, "%:/") {
		return fmt.Errorf("%.40q is no name of an account", v)
	}
	return nil
}

func (l *Line) age(v string) (err error) {
	if strings.IndexByte("dDeCxX", l.Type) < 0 {
		return fmt.Errorf("the type %c has no age", l.Type)
	}
	v, l.KeepFirst = strings.CutPrefix(v, "~")
	if strings.Contains(v, ":") {
		return errors.New("an age by single times is outside the subset: the newest of access, change and modification counts")
	}
	l.Age, err = systime.Span(v)
	return err
}

func (l *Line) argument(v string, h Host) (err error) {
	if v == "-" {
		v = ""
	}
	if v, err = expand(v, h); err != nil {
		return err
	}
	switch l.Type {
	case 'f', 'F', 'w':
		if l.Argument, err = unescape(v); err != nil {
			return err
		}
		if l.Type == 'w' && l.Argument == "" {
			return errors.New("there is nothing to write")
		}
	case 'L', 'C':
		if l.Argument = v; v == "" {
			l.Argument = path.Join("/usr/share/factory", l.Path)
		}
		if l.Type == 'C' && !path.IsAbs(l.Argument) {
			return errors.New("what is copied is no absolute path")
		}
	default:
		if v != "" {
			return fmt.Errorf("the type %c has no argument", l.Type)
		}
	}
	return nil
}

// unescape knows C's escapes, as quoted does, and keeps spaces.
func unescape(v string) (string, error) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(v, `\`)
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		char, rest, err := quoted.Escape(after)
		if err != nil {
			return "", err
		}
		b.WriteString(char)
		v = rest
	}
}

// expand replaces the specifiers that a machine has (tmpfiles.d(5)).
func expand(v string, h Host) (string, error) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(v, "%")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		if after == "" {
			return "", errors.New("a % stands at the end: want %%")
		}
		value, known := map[byte]string{
			'%': "%", 'H': h.Name, 'm': h.MachineID, 'b': h.BootID, 'v': h.Kernel, 't': "/run", 'S': "/var/lib", 'C': "/var/cache", 'L': "/var/log",
			'T': "/tmp", 'V': "/var/tmp", 'u': "root", 'U': "0", 'g': "root", 'G': "0", 'h': "/root",
		}[after[0]]
		if !known {
			return "", fmt.Errorf("the specifier %%%c is outside the subset", after[0])
		}
		b.WriteString(value)
		v = after[1:]
	}
}
