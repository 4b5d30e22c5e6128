package web

import (
	"slices"
	"strings"
	"unicode"
)

// Bounds of what strangers may have on a page, in runes.
const (
	maxWord   = 200
	maxReason = 600
	maxList   = 50
)

// plain makes a stranger's text fit to stand among others: one line of at most
// most runes, without what is not seen or turns the direction of text round.
func plain(text string, most int) string {
	if len(text) > 4*most {
		text = text[:4*most] + "…"
	}
	clean := strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case !unicode.IsPrint(r) || unicode.Is(unicode.Mn, r):
			return '·'
		}
		return r
	}, strings.ToValidUTF8(text, "·"))
	if runes := []rune(clean); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return clean
}

func word(text string) string { return plain(text, maxWord) }

func plainAll(texts []string, most int) []string {
	out := slices.Clone(texts[:min(len(texts), maxList)])
	for i, text := range out {
		out[i] = plain(text, most)
	}
	if n := len(texts); n > maxList {
		out = append(out, "… and more")
	}
	return out
}
