package accounts

import (
	"strconv"
	"strings"
)

// defs are the settings of an installation: login.defs(5), and what useradd(8)
// keeps in /etc/default/useradd.
type defs map[string]string

// fallback stands for settings that an installation has no file for: what
// distributions ship.
var fallback = defs{
	"UID_MIN": "1000", "UID_MAX": "60000", "SYS_UID_MIN": "101", "SYS_UID_MAX": "999",
	"GID_MIN": "1000", "GID_MAX": "60000", "SYS_GID_MIN": "101", "SYS_GID_MAX": "999",
	"SUB_UID_MIN": "100000", "SUB_UID_MAX": "600100000", "SUB_UID_COUNT": "65536",
	"SUB_GID_MIN": "100000", "SUB_GID_MAX": "600100000", "SUB_GID_COUNT": "65536",
	"PASS_MAX_DAYS": "99999", "PASS_MIN_DAYS": "0", "PASS_WARN_AGE": "7", "USERGROUPS_ENAB": "yes",
	"UMASK": "022", "MAIL_DIR": "/var/mail",
	"GROUP": "100", "HOME": "/home", "SHELL": "/bin/bash", "SKEL": "/etc/skel", "CREATE_MAIL_SPOOL": "no", "INACTIVE": "", "EXPIRE": "",
}

func (d *Database) loadDefs() error {
	d.defs = defs{}
	for _, path := range []string{"/etc/login.defs", "/etc/default/useradd"} {
		at, err := d.Dir.Follow(path)
		if err != nil {
			return err
		}
		raw, err := d.Dir.ReadFile(at)
		if err != nil {
			continue // the fallback says it
		}
		d.defs.parse(string(raw))
	}
	if d.defs["INACTIVE"] == "-1" {
		d.defs["INACTIVE"] = ""
	}
	return nil
}

func (s defs) parse(text string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		at := strings.IndexAny(line, " \t=")
		if at < 0 || line[0] == '#' {
			continue
		}
		s[line[:at]] = strings.Trim(line[at:], " \t=\"")
	}
}

func (s defs) get(key string) string {
	if v, ok := s[key]; ok {
		return v
	}
	return fallback[key]
}

// number takes any base that C does.
func (s defs) number(key string) int {
	for _, text := range []string{s[key], fallback[key]} {
		if n, err := strconv.ParseInt(text, 0, 64); err == nil {
			return int(n)
		}
	}
	return 0
}
