package supervise

import (
	"errors"
	"fmt"
	"strings"
)

// parseEnvFile reads lines NAME=VALUE with quotes as systemd.exec(5) has them
// under EnvironmentFile=.
func parseEnvFile(text string) ([]string, error) {
	if strings.ContainsRune(text, 0) {
		return nil, errors.New("has a NUL in it")
	}
	var env []string
	for rest := text; rest != ""; {
		rest = strings.TrimLeft(rest, " \t\r")
		at := len(text) - len(rest)
		line, next, _ := strings.Cut(rest, "\n")
		name, _, assigns := strings.Cut(line, "=")
		switch {
		case line != "" && strings.ContainsRune("#;", rune(line[0])):
			rest = behindComment(rest)
			continue
		case !assigns:
			rest = next
			continue
		}
		name = strings.TrimRight(name, " \t")
		if !isName(name) {
			return nil, fmt.Errorf("line %d: no name of a variable before =", lineOf(text, at))
		}
		value, next, closed := envValue(rest[strings.IndexByte(rest, '=')+1:])
		if !closed {
			return nil, fmt.Errorf("line %d: a quote is not closed", lineOf(text, at))
		}
		env, rest = append(env, name+"="+value), next
	}
	return env, nil
}

func lineOf(text string, at int) int { return strings.Count(text[:at], "\n") + 1 }

// behindComment skips a line; a backslash at its end makes the next one part of
// it.
func behindComment(text string) string {
	for {
		line, rest, _ := strings.Cut(text, "\n")
		if !strings.HasSuffix(line, "\\") || rest == "" {
			return rest
		}
		text = rest
	}
}

// envValue reads a value to the end of its line or lines.
func envValue(text string) (value, rest string, closed bool) {
	var b strings.Builder
	text = strings.TrimLeft(text, " \t\r")
	kept := 0 // of b: what white space at the end does not take away
	first := true
	for text != "" && text[0] != '\n' {
		c := text[0]
		switch {
		case c == '\\' && len(text) > 1:
			if text[1] != '\n' {
				b.WriteByte(text[1])
				kept = b.Len()
			}
			text = text[2:]
		case first && (c == '\'' || c == '"'):
			n, ok := envQuoted(&b, text[1:], c)
			if !ok {
				return "", "", false
			}
			kept, text = b.Len(), strings.TrimLeft(text[1+n:], " \t\r")
			continue // another quote may follow
		default:
			b.WriteByte(c)
			if !strings.ContainsRune(" \t\r", rune(c)) {
				kept = b.Len()
			}
			text = text[1:]
		}
		first = false
	}
	return b.String()[:kept], strings.TrimPrefix(text, "\n"), true
}

// envQuoted reads to the closing quote and returns the length with it.
func envQuoted(b *strings.Builder, text string, quote byte) (int, bool) {
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == quote:
			return i + 1, true
		case c == '\\' && quote == '"' && i+1 < len(text):
			i++
			if text[i] == '\n' {
				continue
			}
			if !strings.ContainsRune("\"\\`$", rune(text[i])) {
				b.WriteByte('\\')
			}
			b.WriteByte(text[i])
		default:
			b.WriteByte(c)
		}
	}
	return 0, false
}
