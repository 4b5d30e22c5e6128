package cli

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"holdfast/internal/api"
)

const usualTmpfs = 64 << 20

// parseTmpfs reads /PATH[:size=64m,mode=1777,noexec].
func parseTmpfs(words []string) ([]api.Tmpfs, error) {
	var list []api.Tmpfs
	for _, word := range words {
		path, options, _ := strings.Cut(word, ":")
		t := api.Tmpfs{Path: path, Size: usualTmpfs}
		for _, option := range strings.FieldsFunc(options, func(r rune) bool { return r == ',' }) {
			if err := tmpfsOption(&t, option); err != nil {
				return nil, fmt.Errorf("--tmpfs %q: %w", word, err)
			}
		}
		list = append(list, t)
	}
	if err := (api.GuestConfig{Tmpfs: list}).Check(); err != nil {
		return nil, fmt.Errorf("--%w", err)
	}
	return list, nil
}

var sizeForm = regexp.MustCompile(`^([0-9]{1,12})([kKmMgG]?)$`)

func tmpfsOption(t *api.Tmpfs, option string) error {
	name, value, _ := strings.Cut(option, "=")
	switch name {
	case "size":
		m := sizeForm.FindStringSubmatch(value)
		if m == nil {
			return fmt.Errorf("size %.20q: want a number with k, m or g", value)
		}
		n, err := strconv.ParseInt(m[1], 10, 64)
		t.Size = n << map[string]int{"k": 10, "m": 20, "g": 30}[strings.ToLower(m[2])]
		return err
	case "mode":
		t.Mode = value
		return nil
	case "noexec":
		t.NoExec = true
		return nil
	case "rw", "nosuid", "nodev": // as it is anyway
		return nil
	}
	return fmt.Errorf("option %.40q: want size=, mode= or noexec", option)
}
