package units

import (
	"fmt"
	"path"
	"strconv"
	"strings"
)

// pidFile is below /run when it is relative; what older units have below
// /var/run is there too (systemd.service(5), PIDFile=).
func pidFile(b *builder, v string) (err error) {
	if v, err = b.expand(v); err != nil || v == "" {
		b.unit.Service.PIDFile = ""
		return err
	}
	if !path.IsAbs(v) {
		v = "/run/" + v
	}
	if v, err = absolute(v); err != nil {
		return err
	}
	if rest, old := strings.CutPrefix(v, "/var/run/"); old {
		v = "/run/" + rest
	}
	b.unit.Service.PIDFile = v
	return nil
}

// tasksMax is a number, a share of what the machine allows, or infinity
// (systemd.resource-control(5), TasksMax=).
func tasksMax(b *builder, v string) error {
	tasks := &b.unit.Service.Tasks
	if *tasks = v; v == "infinity" || v == "" {
		*tasks = ""
		return nil
	}
	number, share := strings.CutSuffix(v, "%")
	n, err := strconv.ParseUint(number, 10, 31)
	if err != nil || n == 0 || share && n > 100 {
		return fmt.Errorf("is neither a number of tasks, nor a share as 20%%, nor infinity")
	}
	return nil
}

// mountsFor are paths; what is mounted there is up before any unit starts.
func mountsFor(b *builder, v string) error {
	words, err := b.words(v)
	if err != nil {
		return err
	}
	for _, w := range words {
		if _, err := absolute(w); err != nil {
			return fmt.Errorf("a word %w", err)
		}
	}
	return nil
}
