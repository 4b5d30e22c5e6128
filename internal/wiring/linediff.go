package wiring

import "strings"

// LineDiff tells what became of lines: " ", "-" or "+" before each. Beside what
// changed it shows three lines that did not.
func LineDiff(before, after string) []string {
	x, y := strings.Split(strings.TrimSuffix(before, "\n"), "\n"), strings.Split(strings.TrimSuffix(after, "\n"), "\n")
	return near(edits(x, y, common(x, y)))
}

// common is the table of the longest common subsequences of the ends of x and y.
func common(x, y []string) [][]int {
	table := make([][]int, len(x)+1)
	for i := range table {
		table[i] = make([]int, len(y)+1)
	}
	for i := len(x) - 1; i >= 0; i-- {
		for j := len(y) - 1; j >= 0; j-- {
			if x[i] == y[j] {
				table[i][j] = table[i+1][j+1] + 1
			} else {
				table[i][j] = max(table[i+1][j], table[i][j+1])
			}
		}
	}
	return table
}

func edits(x, y []string, table [][]int) []string {
	var out []string
	i, j := 0, 0
	for i < len(x) || j < len(y) {
		switch {
		case i < len(x) && j < len(y) && x[i] == y[j]:
			out = append(out, " "+x[i])
			i, j = i+1, j+1
		case j == len(y) || i < len(x) && table[i+1][j] >= table[i][j+1]:
			out = append(out, "-"+x[i])
			i++
		default:
			out = append(out, "+"+y[j])
			j++
		}
	}
	return out
}

// shownBeside is how many lines that stay are shown beside those that do not.
const shownBeside = 3

func near(lines []string) []string {
	var out []string
	skipped := false
	for i, line := range lines {
		keep := false
		for k := max(0, i-shownBeside); k <= min(len(lines)-1, i+shownBeside); k++ {
			keep = keep || lines[k][0] != ' '
		}
		if keep {
			if skipped {
				out = append(out, "…")
			}
			out = append(out, line)
		}
		skipped = !keep
	}
	return out
}
