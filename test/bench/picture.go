package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A span is what passed between two stages of a run.
type span struct {
	Name     string
	From, To float64 // seconds
}

// spans are those of a run, in order, as the metrics at-NAME-s tell.
func spans(m map[string]float64) (list []span) {
	for unit, at := range m {
		if name, ok := strings.CutPrefix(unit, "at-"); ok {
			list = append(list, span{Name: strings.TrimSuffix(name, "-s"), To: at})
		}
	}
	slices.SortFunc(list, func(a, b span) int { return cmp.Compare(a.To, b.To) })
	for i := range list {
		if i > 0 {
			list[i].From = list[i-1].To
		}
	}
	return list
}

const (
	rowHeight, left, width = 22, 110, 640
)

// picture draws where the time of a run goes, as SVG.
func picture(m map[string]float64) string {
	list := spans(m)
	if len(list) == 0 {
		return ""
	}
	scale := width / list[len(list)-1].To
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n",
		left+width+130, rowHeight*len(list)+10)
	out.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	for i, s := range list {
		y := 5 + i*rowHeight
		fmt.Fprintf(&out, `<text x="%d" y="%d" text-anchor="end">%s</text>`, left-8, y+15, s.Name)
		fmt.Fprintf(&out, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="#3465a4"/>`, left+s.From*scale, y+3, max(1, (s.To-s.From)*scale), rowHeight-6)
		fmt.Fprintf(&out, `<text x="%.1f" y="%d">%.2f s</text>`+"\n", left+s.To*scale+5, y+15, s.To-s.From)
	}
	out.WriteString("</svg>\n")
	return out.String()
}
