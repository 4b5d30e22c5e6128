package units

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode"

	"holdfast/internal/supervise"
	"holdfast/internal/supervise/quoted"
)

// commands reads what an Exec line says (systemd.service(5), "Command lines").
func (b *builder) commands(v string) (list []supervise.Command, err error) {
	for v != "" {
		var c supervise.Command
		if c, v, err = b.command(v); err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

// command reads one, up to a lone semicolon, and returns what follows it.
func (b *builder) command(v string) (c supervise.Command, rest string, err error) {
	first, rest, found, err := quoted.Next(v)
	if err != nil {
		return c, "", err
	}
	if !found {
		return c, "", errors.New("has no command")
	}
	ownName, first, err := prefixes(&c, first)
	if err != nil {
		return c, "", err
	}
	if c.Path, err = b.program(first); err != nil {
		return c, "", err
	}
	if !ownName {
		c.Args = []string{c.Path}
	}
	for rest != "" {
		if lone(rest, ";") {
			return c, strings.TrimLeft(rest[1:], " \t"), named(c)
		}
		if lone(rest, `\;`) {
			c.Args, rest = append(c.Args, ";"), strings.TrimLeft(rest[2:], " \t")
			continue
		}
		word, more, _, err := quoted.Next(rest)
		if err != nil {
			return c, "", err
		}
		if word, err = b.expand(word); err != nil {
			return c, "", err
		}
		c.Args, rest = append(c.Args, word), more
	}
	return c, "", named(c)
}

func named(c supervise.Command) error {
	if len(c.Args) == 0 {
		return errors.New("has @ and no name behind the program")
	}
	return nil
}

func lone(text, word string) bool {
	rest, ok := strings.CutPrefix(text, word)
	return ok && (rest == "" || rest[0] == ' ' || rest[0] == '\t')
}

// prefixes takes what stands before a program, each once: of +, ! and !! one.
func prefixes(c *supervise.Command, word string) (ownName bool, rest string, err error) {
	ambient := false // !! is for kernels without ambient capabilities, which none is any more
	for i, r := range word {
		switch {
		case r == '-' && !c.IgnoreFailure:
			c.IgnoreFailure = true
		case r == '@' && !ownName:
			ownName = true
		case r == ':' && !c.Verbatim:
			c.Verbatim = true
		case r == '+' && !c.Privileged && !c.Elevated && !ambient:
			c.Privileged = true
		case r == '!' && !c.Elevated && !c.Privileged && !ambient:
			c.Elevated = true
		case r == '!' && c.Elevated:
			c.Elevated, ambient = false, true
		case r == '|':
			return false, "", fmt.Errorf("the prefix %c is outside the subset: want none but -, @, :, +, ! and !! here", r)
		default:
			return ownName, word[i:], nil
		}
	}
	return ownName, "", nil
}

// program is an absolute path, or a name without slashes.
func (b *builder) program(v string) (string, error) {
	v, err := b.expand(v)
	if err != nil {
		return "", err
	}
	switch {
	case v == "":
		return "", errors.New("has no command")
	case strings.HasSuffix(v, "/"):
		return "", errors.New("names a folder as its program")
	case strings.IndexFunc(v, unicode.IsControl) >= 0:
		return "", errors.New("has a control character in its program")
	case strings.Contains(v, "/") && !path.IsAbs(v):
		return "", errors.New("has a program whose path is not absolute")
	case path.IsAbs(v):
		return path.Clean(v), nil
	}
	return v, nil
}
