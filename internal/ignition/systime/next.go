package systime

import "time"

// Next is the first time behind t; false when there is none up to the year 2199.
// Times that a change of the clocks leaves out do not come.
func (c *Calendar) Next(t time.Time) (time.Time, bool) {
	if c.utc {
		t = t.UTC()
	}
	y, m, d := t.Date()
	for date := time.Date(y, m, d, 0, 0, 0, 0, time.UTC); date.Year() <= lastYear; {
		switch {
		case !c.year.has(date.Year()):
			date = time.Date(date.Year()+1, 1, 1, 0, 0, 0, 0, time.UTC)
			continue
		case !c.month.has(int(date.Month())):
			date = time.Date(date.Year(), date.Month()+1, 1, 0, 0, 0, 0, time.UTC)
			continue
		case c.onDay(date):
			if at, ok := c.within(date, t); ok {
				return at, true
			}
		}
		date = date.AddDate(0, 0, 1)
	}
	return time.Time{}, false
}

func (c *Calendar) onDay(date time.Time) bool {
	if c.days != [7]bool{} && !c.days[date.Weekday()] {
		return false
	}
	if !c.fromEnd {
		return c.day.has(date.Day())
	}
	left := time.Date(date.Year(), date.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day() - date.Day() + 1
	for _, p := range c.day {
		// Behind ~, steps lead towards the end of the month.
		steps := p.stop > p.start
		if left == p.start || steps && left < p.start && (p.start-left)%p.step == 0 {
			return true
		}
	}
	return false
}

// within is the first time of a day that is behind t.
func (c *Calendar) within(date, t time.Time) (time.Time, bool) {
	y, m, d := date.Date()
	for hour := range 24 {
		if !c.hour.has(hour) || !time.Date(y, m, d, hour+1, 0, 0, 0, t.Location()).After(t) {
			continue
		}
		for minute := range 60 {
			if !c.minute.has(minute) {
				continue
			}
			for second := range 60 {
				at := time.Date(y, m, d, hour, minute, second, 0, t.Location())
				if c.second.has(second) && at.After(t) && at.Hour() == hour && at.Minute() == minute {
					return at, true
				}
			}
		}
	}
	return time.Time{}, false
}
