// Package quoted splits text into words by the rules of systemd.syntax(7): words
// end at white space, quotes keep it, and backslashes are C's.
//
// Quotes are taken away wherever they stand, as systemd's own reader does; an
// unknown escape, which that warns of and keeps, is an error.
package quoted

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

const space = " \t\n\r"

// Words splits text.
func Words(text string) ([]string, error) {
	var words []string
	for {
		word, rest, found, err := Next(text)
		if err != nil || !found {
			return words, err
		}
		words, text = append(words, word), rest
	}
}

// Next is the first word of a text and what follows it.
func Next(text string) (word, rest string, found bool, err error) {
	text = strings.TrimLeft(text, space)
	if text == "" {
		return "", "", false, nil
	}
	var b strings.Builder
	var quote byte
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			n, err := unescape(&b, text[i+1:])
			if err != nil {
				return "", "", false, err
			}
			i += n
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && strings.IndexByte(space, c) >= 0:
			return b.String(), strings.TrimLeft(text[i:], space), true, nil
		default:
			b.WriteByte(c)
		}
	}
	if quote != 0 {
		return "", "", false, fmt.Errorf("the quote %c is not closed", quote)
	}
	return b.String(), "", true, nil
}

var simple = map[byte]byte{'a': 7, 'b': 8, 'f': 12, 'n': 10, 'r': 13, 't': 9, 'v': 11, '\\': '\\', '"': '"', '\'': '\'', 's': ' '}

// unescape writes what follows a backslash, and says how long that was.
func unescape(b *strings.Builder, text string) (int, error) {
	if text == "" {
		return 0, errors.New("a backslash stands at the end")
	}
	if c, ok := simple[text[0]]; ok {
		b.WriteByte(c)
		return 1, nil
	}
	digits, base, from := 3, 8, 0
	switch text[0] {
	case 'x':
		digits, base, from = 2, 16, 1
	case 'u':
		digits, base, from = 4, 16, 1
	case 'U':
		digits, base, from = 8, 16, 1
	}
	if len(text) < from+digits {
		return 0, unknown(text[0])
	}
	n, err := strconv.ParseUint(text[from:from+digits], base, 32)
	if err != nil || n == 0 {
		return 0, unknown(text[0])
	}
	switch {
	case digits > 3 && utf8.ValidRune(rune(n)):
		b.WriteRune(rune(n))
	case digits <= 3 && n < 256:
		b.WriteByte(byte(n))
	default:
		return 0, unknown(text[0])
	}
	return from + digits, nil
}

func unknown(c byte) error { return fmt.Errorf("the escape \\%c is not known or not whole", c) }

// Escape reads what follows a backslash, and returns what it stands for and the
// rest.
func Escape(text string) (char, rest string, err error) {
	var b strings.Builder
	n, err := unescape(&b, text)
	if err != nil {
		return "", "", err
	}
	return b.String(), text[n:], nil
}
