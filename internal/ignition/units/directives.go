package units

import (
	"time"

	"holdfast/internal/ignition/systime"
	"holdfast/internal/supervise"
)

type timeSpan = time.Duration

// A directive is one of the subset.
type directive struct {
	set func(b *builder, v string) error
	// means is what the table of docs/formats/units.md says of it.
	means string
}

// directives are the subset, by section and name.
var directives = map[string]map[string]directive{
	"Unit": merged(map[string]directive{
		"Description":           {func(b *builder, v string) (err error) { b.unit.Service.Description, err = b.expand(v); return err }, "shown in the state of the service"},
		"Documentation":         {nothing, "not read"},
		"After":                 {names(func(u *Unit) *[]string { return &u.Service.After }), "order; a unit that is not there is left out"},
		"Before":                {names(func(u *Unit) *[]string { return &u.Service.Before }), "order; a unit that is not there is left out"},
		"Requires":              {pulls(func(u *Unit) *[]string { return &u.Service.Requires }, true), "started and stopped with it; must exist"},
		"BindsTo":               {pulls(func(u *Unit) *[]string { return &u.Service.BindsTo }, true), "as Requires, and stopped when it ends by itself"},
		"Wants":                 {pulls(func(u *Unit) *[]string { return &u.Service.Wants }, false), "started with it; one that is not there is a warning"},
		"PartOf":                {names(func(u *Unit) *[]string { return &u.Service.PartOf }), "stopped and restarted with it"},
		"OnFailure":             {pulls(func(u *Unit) *[]string { return &u.Service.OnFailure }, true), "started when this one has failed for good; must exist"},
		"Requisite":             {names(func(u *Unit) *[]string { return &u.Service.Requisite }), "not started unless they are up, and stopped with them"},
		"Conflicts":             {conflicts, "units that are not started here: of two that are, one would stop the other; and shutdown.target and the like, as all is stopped at the end"},
		"RequiresMountsFor":     {mountsFor, "absolute paths; accepted: all filesystems are mounted before any unit starts"},
		"ReloadPropagatedFrom":  {names(func(u *Unit) *[]string { return &u.Service.ReloadFrom }), "told to reload by its ExecReload when they are"},
		"RefuseManualStart":     {flag(func(*builder, bool) {}), byHand},
		"RefuseManualStop":      {flag(func(*builder, bool) {}), byHand},
		"AllowIsolate":          {flag(func(*builder, bool) {}), byHand},
		"IgnoreOnIsolate":       {flag(func(*builder, bool) {}), byHand},
		"StartLimitInterval":    {startInterval, "the older name of StartLimitIntervalSec"},
		"DefaultDependencies":   {func(b *builder, v string) error { yes, err := boolean(v); b.unit.bare = !yes; return err }, "without: no order behind sysinit.target and basic.target"},
		"StartLimitIntervalSec": {startInterval, "10 s when absent; 0 for no limit"},
		"StartLimitBurst":       {startBurst, "5 when absent; 0 for no limit"},
	}, conditions("Condition", "unmet: not started, which is no failure"), conditions("Assert", "unmet: failed")),
	"Service": merged(map[string]directive{
		"Type":                 {kind, "simple, exec, oneshot, notify or forking; without ExecStart= oneshot, else simple"},
		"PIDFile":              {pidFile, "a regular file of at most 64 bytes that a forking service names its main process in; relative to /run; removed at its end"},
		"GuessMainPID":         {flag(func(b *builder, yes bool) { b.unit.Service.NoGuess = !yes }), "no: a forking service without PIDFile has no main process, and is up while any of its processes is"},
		"PermissionsStartOnly": {flag(func(b *builder, yes bool) { b.startOnly = yes }), "yes: commands but for ExecStart run as if with the prefix +"},
		"TasksMax":             {tasksMax, "how many processes and threads it may have: a number, a share as 20%, or infinity"},
		"OOMPolicy":            {func(_ *builder, v string) error { return oneOf(v, "continue") }, "continue only"},
		"NonBlocking":          {flag(func(*builder, bool) {}), "accepted: it is of sockets that a service is handed"},
		"IgnoreSIGPIPE":        {func(_ *builder, v string) error { return oneOf(v, "no", "false") }, "no only"},
		"StartLimitInterval":   {startInterval, older},
		"StartLimitBurst":      {startBurst, older},
		"ExecCondition":        {execs(func(b *builder) *[]supervise.Command { return &b.unit.Service.StartIf }), "exit code 1 to 254: not started, which is no failure"},
		"ExecStartPre":         {execs(func(b *builder) *[]supervise.Command { return &b.unit.Service.StartPre }), "commands before"},
		"ExecStart":            {execs(func(b *builder) *[]supervise.Command { return &b.start }), "the command; several for oneshot"},
		"ExecStartPost":        {execs(func(b *builder) *[]supervise.Command { return &b.unit.Service.StartPost }), "commands when it is up"},
		"ExecReload":           {execs(func(b *builder) *[]supervise.Command { return &b.unit.Service.Reload }), "commands that have it read its configuration again: when the machine's certificate is renewed and `reload` of its `identity` names it"},
		"ExecStop":             {execs(func(b *builder) *[]supervise.Command { return &b.unit.Service.Stop }), "commands that stop it, when it had started"},
		"ExecStopPost":         {execs(func(b *builder) *[]supervise.Command { return &b.unit.Service.StopPost }), "commands when it has stopped"},
		"Restart":              {restart, "no, always, on-success, on-failure, on-abnormal, on-abort"},
		"RestartSec":           {func(b *builder, v string) (err error) { b.unit.Service.RestartDelay, err = systime.Span(v); return err }, "100 ms when absent"},
		"RestartSteps": {func(b *builder, v string) (err error) {
			b.unit.Service.RestartSteps, err = integer(v, 0, 1000)
			return err
		}, "steps in which the pause grows to RestartMaxDelaySec (systemd 254)"},
		"RestartMaxDelaySec":       {func(b *builder, v string) (err error) { b.unit.Service.MaxDelay, err = systime.Span(v); return err }, "the longest pause of RestartSteps"},
		"RestartPreventExitStatus": {func(b *builder, v string) (err error) { b.unit.Service.NeverRestartOn, err = statuses(v); return err }, "exit codes and signals"},
		"SuccessExitStatus":        {func(b *builder, v string) (err error) { b.unit.Service.SuccessOn, err = statuses(v); return err }, "exit codes and signals"},
		"RemainAfterExit":          {flag(func(b *builder, yes bool) { b.unit.Service.RemainAfter = yes }), "stays active when its processes have ended"},
		"TimeoutStartSec":          {func(b *builder, v string) (err error) { b.unit.Service.StartTimeout, err = timeout(v); return err }, "for each command; 90 s when absent, none for oneshot"},
		"TimeoutStopSec":           {func(b *builder, v string) (err error) { b.unit.Service.StopTimeout, err = timeout(v); return err }, "90 s when absent"},
		"TimeoutSec": {func(b *builder, v string) error {
			d, err := timeout(v)
			b.unit.Service.StartTimeout, b.unit.Service.StopTimeout = d, d
			return err
		}, "both"},
		"NotifyAccess":        {notifyAccess, "none, main or all"},
		"KillMode":            {killMode, "control-group, mixed, process or none"},
		"KillSignal":          {func(b *builder, v string) (err error) { b.unit.Service.Kill.Signal, err = signal(v); return err }, "SIGTERM when absent"},
		"FinalKillSignal":     {func(b *builder, v string) (err error) { b.unit.Service.Kill.FinalSignal, err = signal(v); return err }, "SIGKILL when absent"},
		"SendSIGKILL":         {flag(func(b *builder, yes bool) { b.unit.Service.Kill.NoFinal = !yes }), "yes when absent"},
		"SendSIGHUP":          {flag(func(b *builder, yes bool) { b.unit.Service.Kill.Hangup = yes }), "SIGHUP follows at once"},
		"Environment":         {environment, "NAME=VALUE words"},
		"EnvironmentFile":     {environmentFile, "an absolute path, - before it for one that may be absent; no wildcards"},
		"PassEnvironment":     {func(b *builder, v string) error { return b.list(&b.unit.Service.Process.PassEnv, v) }, "names of process 1's own"},
		"UnsetEnvironment":    {func(b *builder, v string) error { return b.list(&b.unit.Service.Process.UnsetEnv, v) }, "names, or NAME=VALUE"},
		"WorkingDirectory":    {workingDirectory, "an absolute path or ~, - before it for one that may be absent"},
		"User":                {func(b *builder, v string) (err error) { b.unit.Service.Process.User, err = b.account(v); return err }, "a name or number"},
		"Group":               {func(b *builder, v string) (err error) { b.unit.Service.Process.Group, err = b.account(v); return err }, "a name or number"},
		"SupplementaryGroups": {func(b *builder, v string) error { return b.list(&b.unit.Service.Process.Groups, v) }, "names or numbers"},
		"UMask": {func(b *builder, v string) error {
			mask, err := octal(v)
			b.unit.Service.Process.UMask = &mask
			return err
		}, "0022 when absent"},
		"Nice": {func(b *builder, v string) error {
			n, err := integer(v, -20, 19)
			b.unit.Service.Process.Nice = &n
			return err
		}, "-20 to 19"},
		"OOMScoreAdjust": {func(b *builder, v string) error {
			n, err := integer(v, -1000, 1000)
			b.unit.Service.Process.OOMScore = &n
			return err
		}, "-1000 to 1000"},
		"NoNewPrivileges":  {flag(func(b *builder, yes bool) { b.unit.Service.Process.NoNewPrivs = yes }), "no program it calls gains privileges; no does not count for a service of another user where something of its sandbox implies yes"},
		"StandardInput":    {func(_ *builder, v string) error { return oneOf(v, "null") }, "null"},
		"StandardOutput":   {func(b *builder, v string) error { return b.output(&b.unit.Service.Process.Stdout, v) }, "journal, kmsg, inherit, null, file:, append: or truncate:; the first three are the machine's log"},
		"StandardError":    {func(b *builder, v string) error { return b.output(&b.unit.Service.Process.Stderr, v) }, "the same; inherit is StandardOutput's"},
		"SyslogIdentifier": {func(b *builder, v string) (err error) { b.unit.Service.Process.LogName, err = b.expand(v); return err }, "the name before its lines, instead of the unit's"},
		"Delegate":         {flag(func(*builder, bool) {}), "accepted: groups below the service's are its own anyway"},
		"RuntimeDirectoryPreserve": {func(b *builder, v string) error {
			b.preserve = v
			return oneOf(v, "no", "yes", "restart")
		}, "no, yes or restart"},
	}, folders(), limitDirectives(), sandboxes()),
	"Timer": {
		"OnActiveSec":        {timerSpans(func(t *Timer) *[]time.Duration { return &t.Active }), "since the timer was started"},
		"OnBootSec":          {timerSpans(func(t *Timer) *[]time.Duration { return &t.Boot }), "since the machine was started"},
		"OnStartupSec":       {timerSpans(func(t *Timer) *[]time.Duration { return &t.Boot }), "the same: process 1 starts with the machine"},
		"OnUnitActiveSec":    {timerSpans(func(t *Timer) *[]time.Duration { return &t.UnitActive }), "since the service was started last"},
		"OnUnitInactiveSec":  {timerSpans(func(t *Timer) *[]time.Duration { return &t.UnitInactive }), "since the service has ended last"},
		"OnCalendar":         {onCalendar, "a calendar event of systemd.time(7)"},
		"AccuracySec":        {func(_ *builder, v string) error { _, err := systime.Span(v); return err }, "accepted: a timer is never late on purpose"},
		"RandomizedDelaySec": {func(b *builder, v string) (err error) { b.unit.Timer.RandomDelay, err = systime.Span(v); return err }, "up to that much later"},
		"FixedRandomDelay":   {flag(func(b *builder, yes bool) { b.fixedDelay = yes }), "RandomizedDelaySec is always as long, by the machine's ID and the timer's name"},
		"Persistent":         {flag(func(b *builder, yes bool) { b.unit.Timer.Persistent = yes }), "an OnCalendar= that was missed is made up for at once"},
		"RemainAfterElapse":  {func(_ *builder, v string) error { return oneOf(v, "yes", "true") }, "yes only: a timer stays"},
		"Unit":               {timerUnit, "the service; that of the timer's name when absent"},
	},
	"Install": {
		"WantedBy":        {installed(func(i *Install) *[]string { return &i.WantedBy }), "units that want it once it is enabled"},
		"RequiredBy":      {installed(func(i *Install) *[]string { return &i.RequiredBy }), "units that require it once it is enabled"},
		"Alias":           {installed(func(i *Install) *[]string { return &i.Alias }), "other names once it is enabled"},
		"Also":            {installed(func(i *Install) *[]string { return &i.Also }), "units that are enabled with it"},
		"DefaultInstance": {func(b *builder, v string) (err error) { b.unit.Install.DefaultInstance, err = b.expand(v); return err }, "of a template that is enabled without an instance"},
	},
}
