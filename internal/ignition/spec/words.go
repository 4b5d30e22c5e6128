package spec

import (
	"regexp"
	"strings"

	ign "github.com/coreos/ignition/v2/config/shared/errors"
)

// wanted says for each error of upstream what was expected. Its own words hold
// no value, so they are kept; an error that is not here is told in our words.
var wanted = map[error]string{
	ign.ErrDuplicate:                       "each name, path or device once",
	ign.ErrDeprecated:                      "a newer version",
	ign.ErrCompressionInvalid:              `"gzip", or none`,
	ign.ErrFileUsedSymlink:                 "a path with no link of this config in it",
	ign.ErrDirectoryUsedSymlink:            "a path with no link of this config in it",
	ign.ErrLinkUsedSymlink:                 "a path with no link of this config in it",
	ign.ErrLinkTargetRequired:              "target",
	ign.ErrHardLinkToDirectory:             "the path of a file, or a symbolic link",
	ign.ErrHardLinkSpecifiesOwner:          "no user or group: a hard link has its target's",
	ign.ErrDiskDeviceRequired:              "device",
	ign.ErrPartitionNumbersCollide:         "each number once, or 0 for the next free one",
	ign.ErrPartitionsOverlap:               "ranges that have no sector in common",
	ign.ErrPartitionsMisaligned:            "start and size in whole MiB",
	ign.ErrOverwriteAndNilSource:           "overwrite false, or contents",
	ign.ErrVerificationAndNilSource:        "source beside verification",
	ign.ErrFilesystemInvalidFormat:         "ext4, btrfs, xfs, vfat, swap or none, as far as the version knows it",
	ign.ErrLabelNeedsFormat:                "format beside label",
	ign.ErrFormatNilWithOthers:             "format",
	ign.ErrExt4LabelTooLong:                "at most 16 characters",
	ign.ErrBtrfsLabelTooLong:               "at most 256 characters",
	ign.ErrXfsLabelTooLong:                 "at most 12 characters",
	ign.ErrSwapLabelTooLong:                "at most 15 characters",
	ign.ErrVfatLabelTooLong:                "at most 11 characters",
	ign.ErrLuksLabelTooLong:                "at most 47 characters",
	ign.ErrLuksNameContainsSlash:           "a name without slashes",
	ign.ErrInvalidLuksKeyFile:              "a source that can be fetched",
	ign.ErrClevisPinRequired:               "pin",
	ign.ErrUnknownClevisPin:                "tpm2, tang or sss",
	ign.ErrClevisConfigRequired:            "config",
	ign.ErrClevisCustomWithOthers:          "custom alone, or tpm2, tang and threshold",
	ign.ErrTangThumbprintRequired:          "thumbprint",
	ign.ErrInvalidTangAdvertisement:        "JSON",
	ign.ErrFileIllegalMode:                 "a mode from 0 to 4095 (octal 7777), in decimal",
	ign.ErrModeSpecialBits:                 "a mode up to 511 (octal 777), or version 3.6.0",
	ign.ErrBothIDAndNameSet:                "id or name",
	ign.ErrLabelTooLong:                    "at most 36 characters",
	ign.ErrDoesntMatchGUIDRegex:            "a GUID in capitals",
	ign.ErrLabelContainsColon:              "a label without colons",
	ign.ErrNoPath:                          "path",
	ign.ErrPathRelative:                    `a path that begins with "/"`,
	ign.ErrDirtyPath:                       `a path without "//", "." or ".."`,
	ign.ErrPartitionsOverwritten:           "a partition, or a disk without partitions",
	ign.ErrFilesystemImplicitWipe:          "wipeFilesystem, or a table that is kept",
	ign.ErrRaidLevelRequired:               "level",
	ign.ErrSparesUnsupportedForLevel:       "no spares, or another level",
	ign.ErrUnrecognizedRaidLevel:           "linear, raid0, raid1, raid4, raid5, raid6 or raid10",
	ign.ErrRaidDevicesRequired:             "devices",
	ign.ErrShouldNotExistWithOthers:        "shouldExist false with nothing but number or label beside it",
	ign.ErrZeroesWithShouldNotExist:        "number of the others, above 0",
	ign.ErrNeedLabelOrNumber:               "number or label",
	ign.ErrDuplicateLabels:                 "each label once",
	ign.ErrInvalidProxy:                    "a URL of http or https",
	ign.ErrInsecureProxy:                   "a proxy of https",
	ign.ErrPathConflictsSystemd:            "the unit in one place: storage or systemd",
	ign.ErrCexWithClevis:                   "cex or clevis",
	ign.ErrCexWithKeyFile:                  "cex or keyFile",
	ign.ErrInvalidSystemdExt:               "a name that ends in .service, .socket, .mount, .timer or another kind of unit",
	ign.ErrInvalidSystemdDropinExt:         "a name that ends in .conf",
	ign.ErrNoSystemdExt:                    "a name with an ending, as .service",
	ign.ErrInvalidInstantiatedUnit:         "NAME@INSTANCE.KIND",
	ign.ErrSourceRequired:                  "source",
	ign.ErrInvalidScheme:                   "http, https, tftp, s3, arn, gs or data, as far as the version knows it",
	ign.ErrInvalidUrl:                      "a URL",
	ign.ErrInvalidHTTPHeader:               "a value",
	ign.ErrEmptyHTTPHeaderName:             "a name",
	ign.ErrUnsupportedSchemeForHTTPHeaders: "http or https",
	ign.ErrHashMalformed:                   "sha256- or sha512- and hex digits",
	ign.ErrHashWrongSize:                   "64 hex digits behind sha256-, 128 behind sha512-",
	ign.ErrHashUnrecognized:                "sha256- or sha512-",
	ign.ErrInvalidS3ARN:                    "arn:PARTITION:s3:::BUCKET/KEY, or that of an access point",
	ign.ErrInvalidS3ObjectVersionId:        "a version behind versionId=",
	ign.ErrFilePermissionsUnset:            "mode",
	ign.ErrDirectoryPermissionsUnset:       "mode",
}

// byMessage is wanted by the text that a report keeps of an error.
var byMessage = func() map[string]string {
	m := make(map[string]string, len(wanted))
	for err, want := range wanted {
		m[err.Error()] = want
	}
	return m
}()

// An other is an error whose own words may hold values.
type other struct {
	message       *regexp.Regexp
	problem, want string
}

var others = []other{
	{regexp.MustCompile(`^unit ".*" is enabled, but has no install section`), "the unit is enabled, but has no [Install] section, so that does nothing", ""},
	{regexp.MustCompile(`^template unit ".*" for ".*" doesn't have Install section`), "the unit's template has no [Install] section", ""},
	{regexp.MustCompile(`^invalid unit content: `), "the text is no systemd unit", "sections as [Service] with lines NAME=VALUE"},
	{regexp.MustCompile(`^context tree does not match`), "places below may be wrong", ""},
}

var unusedKey = regexp.MustCompile(`(?i)^unused key `)

// tell gives the words of a finding: the problem, and what was expected.
func tell(message, path string) (problem, want string) {
	if want, ok := byMessage[message]; ok {
		return message, want
	}
	if unusedKey.MatchString(message) {
		return "the key is unknown, and ignored", ""
	}
	for _, o := range others {
		if o.message.MatchString(message) {
			return o.problem, o.want
		}
	}
	if strings.HasSuffix(path, ".source") || strings.HasSuffix(path, ".local") {
		return "the source does not decode", "a URL, or data: with base64 or percent encoding"
	}
	return "the value is refused", "what the specification says"
}

func withArticle(kind string) string {
	switch kind {
	case "array", "object":
		return "an " + kind
	case "bool":
		return "a boolean"
	}
	return "a " + kind
}

// kindOf names a Go type of the specification's as JSON calls it.
func kindOf(goType string) string {
	switch t := strings.TrimLeft(goType, "*"); {
	case strings.HasPrefix(t, "[]"):
		return "an array"
	case t == "bool":
		return "a boolean"
	case strings.HasPrefix(t, "int"):
		return "a whole number"
	case t == "string", strings.HasSuffix(t, "Item"), strings.HasSuffix(t, "Option"), strings.HasSuffix(t, "Device"), strings.HasSuffix(t, "Argument"), strings.HasSuffix(t, "Key"):
		return "a string"
	}
	return "an object"
}
