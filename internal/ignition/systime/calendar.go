package systime

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Calendar is a calendar event: all times that its parts match. Seconds are
// whole, and the zone is the machine's or UTC.
type Calendar struct {
	days                 [7]bool // of the week, by time.Weekday; none: any
	year, month, day     chain
	fromEnd              bool // days are counted from the end of the month
	hour, minute, second chain
	utc                  bool
}

// A chain is a list of values; nil is any.
type chain []part

// A part is from start to stop by steps; the whole range of the field when stop
// was not given and there are steps.
type part struct{ start, stop, step int }

var weekdays = []string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}

// lastYear is systemd's: what is later never comes.
const lastYear = 2199

var shorthands = map[string]string{
	"minutely": "*-*-* *:*:00", "hourly": "*-*-* *:00:00", "daily": "*-*-* 00:00:00", "monthly": "*-*-01 00:00:00", "weekly": "Mon *-*-* 00:00:00",
	"yearly": "*-01-01 00:00:00", "annually": "*-01-01 00:00:00", "quarterly": "*-01,04,07,10-01 00:00:00", "semiannually": "*-01,07-01 00:00:00",
	"anually": "*-01-01 00:00:00", "biannually": "*-01,07-01 00:00:00", "bi-annually": "*-01,07-01 00:00:00", "semi-annually": "*-01,07-01 00:00:00",
}

// maxCalendar bounds what is parsed: no event of a person's comes near.
const maxCalendar = 4 << 10

// ParseCalendar reads a calendar event of systemd.time(7).
func ParseCalendar(text string) (*Calendar, error) {
	if len(text) > maxCalendar {
		return nil, fmt.Errorf("has more than %d bytes, want a calendar event", maxCalendar)
	}
	c, err := parseCalendar(text)
	if err != nil {
		return nil, fmt.Errorf("%.60q is no calendar event: %w", text, err)
	}
	return c, nil
}

func parseCalendar(text string) (*Calendar, error) {
	words, c := strings.Fields(text), &Calendar{}
	if n := len(words); n > 1 && strings.EqualFold(words[n-1], "UTC") {
		c.utc, words = true, words[:n-1]
	}
	if len(words) == 1 && shorthands[strings.ToLower(words[0])] != "" {
		words = strings.Fields(shorthands[strings.ToLower(words[0])])
	}
	if len(words) > 0 && isLetter(words[0][0]) {
		if err := c.weekdays(words[0]); err != nil {
			return nil, err
		}
		words = words[1:]
	}
	date, clock := "*-*-*", "00:00:00"
	switch {
	case len(words) == 0 && c.days == [7]bool{}:
		return nil, errors.New("it is empty")
	case len(words) == 0:
	case len(words) == 1 && strings.Contains(words[0], ":"):
		clock = words[0]
	case len(words) == 1:
		date = words[0]
	case len(words) == 2:
		date, clock = words[0], words[1]
	default:
		return nil, errors.New("want [DAYS] [DATE] [TIME] [UTC]")
	}
	return c, errors.Join(c.date(date), c.clock(clock))
}

func isLetter(b byte) bool { return b|0x20 >= 'a' && b|0x20 <= 'z' }

// weekdays reads Mon..Wed,Fri; names may be cut to three letters.
func (c *Calendar) weekdays(text string) error {
	for item := range strings.SplitSeq(text, ",") {
		first, last, ranged := strings.Cut(item, "..")
		if !ranged {
			first, last, ranged = strings.Cut(item, "-")
		}
		from, err := weekday(first)
		if err != nil {
			return err
		}
		to := from
		if ranged {
			if to, err = weekday(last); err != nil {
				return err
			}
		}
		if from > to {
			return errors.New("a range of weekdays ends before it begins: the week begins on Monday")
		}
		for d := from; d <= to; d++ {
			c.days[(d+1)%7] = true
		}
	}
	return nil
}

// weekday counts from Monday.
func weekday(name string) (int, error) {
	i := slices.IndexFunc(weekdays, func(w string) bool { return strings.EqualFold(name, w) || strings.EqualFold(name, w[:3]) })
	if i < 0 {
		return 0, errors.New("a word is no weekday")
	}
	return (i + 6) % 7, nil
}

// date reads [YEAR-]MONTH-DAY, with ~ before a day that is counted from the end.
func (c *Calendar) date(text string) (err error) {
	var day string
	text, day, c.fromEnd = strings.Cut(text, "~")
	fields := strings.Split(text, "-")
	if !c.fromEnd {
		day, fields = fields[len(fields)-1], fields[:len(fields)-1]
	}
	if len(fields) == 1 {
		fields = []string{"*", fields[0]}
	}
	if len(fields) != 2 {
		return errors.New("the date is not YEAR-MONTH-DAY or MONTH-DAY")
	}
	if c.year, err = parseChain(fields[0], 0, lastYear); err != nil {
		return fmt.Errorf("year: %w", err)
	}
	for i := range c.year {
		c.year[i].start = century(c.year[i].start)
		if c.year[i].stop < lastYear {
			c.year[i].stop = century(c.year[i].stop)
		}
		if c.year[i].start < 1970 {
			return errors.New("year: a value is below 1970")
		}
	}
	if c.month, err = parseChain(fields[1], 1, 12); err != nil {
		return fmt.Errorf("month: %w", err)
	}
	if c.day, err = parseChain(day, 1, 31); err != nil {
		return fmt.Errorf("day: %w", err)
	}
	if c.fromEnd && (c.day == nil || strings.Contains(day, "..")) {
		return errors.New("day: want numbers behind ~")
	}
	return nil
}

// century of a year with two digits, as systemd has it.
func century(year int) int {
	switch {
	case year < 70:
		return year + 2000
	case year < 100:
		return year + 1900
	}
	return year
}

func (c *Calendar) clock(text string) (err error) {
	fields := strings.Split(text, ":")
	if len(fields) == 2 {
		fields = append(fields, "0")
	}
	if len(fields) != 3 {
		return errors.New("the time is not HOUR:MINUTE[:SECOND]")
	}
	if c.hour, err = parseChain(fields[0], 0, 23); err != nil {
		return fmt.Errorf("hour: %w", err)
	}
	if c.minute, err = parseChain(fields[1], 0, 59); err != nil {
		return fmt.Errorf("minute: %w", err)
	}
	if c.second, err = parseChain(fields[2], 0, 59); err != nil {
		return fmt.Errorf("second: %w", err)
	}
	return nil
}

func parseChain(text string, low, high int) (chain, error) {
	if text == "*" {
		return nil, nil
	}
	var list chain
	for item := range strings.SplitSeq(text, ",") {
		p, err := parsePart(item, low, high)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// parsePart reads START[..STOP][/STEP].
func parsePart(text string, low, high int) (p part, err error) {
	values, step, steps := strings.Cut(text, "/")
	from, to, ranged := strings.Cut(values, "..")
	if p.start, err = number(from, low, high); err != nil {
		return p, err
	}
	p.stop, p.step = p.start, 1
	if steps {
		p.stop = high
		if p.step, err = number(step, 1, high); err != nil {
			return p, err
		}
	}
	if ranged {
		if p.stop, err = number(to, low, high); err != nil {
			return p, err
		}
	}
	if p.stop < p.start {
		return p, errors.New("a range ends before it begins")
	}
	return p, nil
}

func number(text string, low, high int) (int, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || int(n) < low || int(n) > high {
		return 0, fmt.Errorf("want whole numbers from %d to %d", low, high)
	}
	return int(n), nil
}

func (c chain) has(value int) bool {
	return c == nil || slices.ContainsFunc(c, func(p part) bool {
		return value >= p.start && value <= p.stop && (value-p.start)%p.step == 0
	})
}
