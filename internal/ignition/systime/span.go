// Package systime reads times as systemd.time(7) writes them: spans as "5min
// 20s", and calendar events as "Mon *-*-* 02:30:00".
//
// What it reads it reads as systemd does; what that would guess at is an error.
package systime

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Infinity is a span that does not end.
const Infinity = time.Duration(math.MaxInt64)

const (
	day   = 24 * time.Hour
	month = 2629800 * time.Second // 30.44 days, as systemd has it
	year  = 31557600 * time.Second
)

var spanUnits = map[string]time.Duration{
	"us": time.Microsecond, "usec": time.Microsecond, "µs": time.Microsecond, "μs": time.Microsecond,
	"ms": time.Millisecond, "msec": time.Millisecond,
	"": time.Second, "s": time.Second, "sec": time.Second, "second": time.Second, "seconds": time.Second,
	"m": time.Minute, "min": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"h": time.Hour, "hr": time.Hour, "hour": time.Hour, "hours": time.Hour,
	"d": day, "day": day, "days": day, "w": 7 * day, "week": 7 * day, "weeks": 7 * day,
	"M": month, "month": month, "months": month, "y": year, "year": year, "years": year,
}

// Span reads a time span; a number without a unit is in seconds.
func Span(text string) (time.Duration, error) {
	rest := strings.TrimSpace(text)
	if rest == "infinity" {
		return Infinity, nil
	}
	if rest == "" {
		return 0, errors.New("is empty, want a time span as 90s or 1min 30s")
	}
	var whole float64
	for rest != "" {
		number, unit, more := spanPart(rest)
		value, err := strconv.ParseFloat(number, 64)
		scale, known := spanUnits[unit]
		switch {
		case err != nil || strings.HasSuffix(number, "."):
			return 0, fmt.Errorf("%.60q is no time span: want numbers with units, as 90s or 1min 30s", text)
		case !known:
			return 0, fmt.Errorf("%.60q is no unit of time: want us, ms, s, min, h, d, w, month or y", unit)
		}
		whole, rest = whole+value*float64(scale), more
	}
	if whole >= float64(Infinity) {
		return 0, fmt.Errorf("%.60q is too long: want less than 292 years, or infinity", text)
	}
	return time.Duration(whole), nil
}

// spanPart is a number, its unit and what follows.
func spanPart(text string) (number, unit, rest string) {
	text = strings.TrimPrefix(text, "+")
	i := strings.IndexFunc(text, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if i < 0 {
		return text, "", ""
	}
	number, rest = text[:i], strings.TrimLeft(text[i:], " \t")
	i = strings.IndexFunc(rest, func(r rune) bool { return r == ' ' || r == '\t' || r == '.' || r >= '0' && r <= '9' })
	if i < 0 {
		i = len(rest)
	}
	return number, rest[:i], strings.TrimLeft(rest[i:], " \t")
}
