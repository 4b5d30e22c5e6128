// Package accounts keeps the users and groups of a root: passwd, shadow, group,
// gshadow, subuid and subgid, and home folders.
//
// It leaves them as useradd, usermod, userdel, groupadd, groupmod and groupdel
// would, with the root's own login.defs, and runs none of them.
package accounts

import (
	"fmt"
	"strconv"
	"time"

	"holdfast/internal/ignition/rooted"
)

// Config is what it works with.
type Config struct {
	Dir *rooted.Dir
	Now func() time.Time // the day of a password's change
}

// A Database reads the files anew for each change and writes those that change.
type Database struct {
	Config
	passwd, shadow, group, gshadow, subuid, subgid *table
	defs                                           defs
}

// New reads nothing yet.
func New(c Config) *Database {
	return &Database{Config: c,
		passwd: &table{path: "/etc/passwd", fields: 7, mode: 0o644}, shadow: &table{path: "/etc/shadow", fields: 9},
		group: &table{path: "/etc/group", fields: 4, mode: 0o644}, gshadow: &table{path: "/etc/gshadow", fields: 4},
		subuid: &table{path: "/etc/subuid", fields: 3, mode: 0o644}, subgid: &table{path: "/etc/subgid", fields: 3, mode: 0o644},
	}
}

// A User as passwd has it.
type User struct {
	Name     string
	UID, GID int
	Home     string
}

// An UnknownError names a user or group that the root does not have.
type UnknownError struct{ Kind, Name string }

func (e *UnknownError) Error() string { return fmt.Sprintf("the root has no %s %q", e.Kind, e.Name) }

// Lookup finds a user by name.
func (d *Database) Lookup(name string) (User, error) {
	if err := d.read(d.passwd); err != nil {
		return User{}, err
	}
	row := d.passwd.find(name)
	if row == nil {
		return User{}, &UnknownError{"user", name}
	}
	u := User{Name: name, Home: row[5]}
	var err error
	if u.UID, err = strconv.Atoi(row[2]); err == nil {
		u.GID, err = strconv.Atoi(row[3])
	}
	if err != nil {
		return User{}, fmt.Errorf("/etc/passwd: user %q: %w", name, err)
	}
	return u, nil
}

// UserID is a user's number.
func (d *Database) UserID(name string) (int, error) {
	u, err := d.Lookup(name)
	return u.UID, err
}

// GroupID is a group's number.
func (d *Database) GroupID(name string) (int, error) {
	if err := d.read(d.group); err != nil {
		return 0, err
	}
	row := d.group.find(name)
	if row == nil {
		return 0, &UnknownError{"group", name}
	}
	return strconv.Atoi(row[2])
}

func (d *Database) tables() []*table {
	return []*table{d.passwd, d.shadow, d.group, d.gshadow, d.subuid, d.subgid}
}

// change reads everything, lets do change it, and writes what changed.
func (d *Database) change(do func() error) error {
	if err := d.loadDefs(); err != nil {
		return err
	}
	for _, t := range d.tables() {
		if err := d.read(t); err != nil {
			return err
		}
	}
	if err := do(); err != nil {
		return err
	}
	for _, t := range d.tables() {
		if err := d.write(t); err != nil {
			return err
		}
	}
	return nil
}

func (d *Database) today() string {
	return strconv.FormatInt(d.Now().Unix()/(24*60*60), 10)
}
