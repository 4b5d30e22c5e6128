package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/wiring"
)

// limitFlags are the flags of serve that bound what the registry takes.
func limitFlags(c *cobra.Command) func() (wiring.RegistryLimits, error) {
	total := c.Flags().String("quota", "", "bytes that the registry holds in all, as 200G (default: what the disk holds)")
	each := c.Flags().String("repository-quota", "", "bytes that each repository holds, as 20G (default: no bound)")
	reserve := c.Flags().String("disk-reserve", "", "bytes of the disk that uploads leave free (default: 8M, or less of a small disk)")
	expiry := c.Flags().Duration("upload-expiry", 24*time.Hour, "time after which an upload that nobody goes on with is dropped")
	recheck := c.Flags().Duration("recheck", 10*time.Minute, "time after which a blob is hashed again before it is given out; 0: it is hashed each time")
	return func() (l wiring.RegistryLimits, err error) {
		for flag, v := range map[string]struct {
			text string
			to   *int64
		}{"quota": {*total, &l.Quota.Total}, "repository-quota": {*each, &l.Quota.Repository}, "disk-reserve": {*reserve, &l.Quota.Reserve}} {
			if v.text == "" {
				continue
			}
			if *v.to, err = parseBytes(v.text); err != nil {
				return l, fmt.Errorf("--%s %w", flag, err)
			}
		}
		if l.Expiry = *expiry; l.Expiry <= 0 {
			return l, fmt.Errorf("--upload-expiry %v: want more than nothing, as 24h", *expiry)
		}
		if l.Recheck = *recheck; l.Recheck < 0 {
			return l, fmt.Errorf("--recheck %v: want no less than nothing, as 10m", *recheck)
		}
		if l.Recheck == 0 {
			l.Recheck = -1 // the registry's word for each time
		}
		return l, nil
	}
}

// parseBytes reads a size, whose unit is a power of 1024.
func parseBytes(s string) (int64, error) {
	number, shift := s, 0
	for i, unit := range "KMGT" {
		if n, ok := strings.CutSuffix(s, string(unit)); ok {
			number, shift = n, 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(number, 10, 63-shift)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%q: want a size, as 500M or 20G", s)
	}
	return n << shift, nil
}
