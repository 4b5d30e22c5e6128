package events

import "fmt"

// A Type says what a record is about (profile, 10.4.1). It is not measured.
type Type uint32

// Types that are looked into.
const (
	NoAction                   Type = 0x00000003
	Separator                  Type = 0x00000004
	Action                     Type = 0x00000005
	EventTag                   Type = 0x00000006
	SCRTMVersion               Type = 0x00000008
	IPL                        Type = 0x0000000D
	EFIVariableDriverConfig    Type = 0x80000001
	EFIVariableBoot            Type = 0x80000002
	EFIBootServicesApplication Type = 0x80000003
	EFIBootServicesDriver      Type = 0x80000004
	EFIRuntimeServicesDriver   Type = 0x80000005
	EFIGPTEvent                Type = 0x80000006
	EFIAction                  Type = 0x80000007
	EFIPlatformFirmwareBlob    Type = 0x80000008
	EFIHandoffTables           Type = 0x80000009
	EFIPlatformFirmwareBlob2   Type = 0x8000000A
	EFIHandoffTables2          Type = 0x8000000B
	EFIVariableBoot2           Type = 0x8000000C
	EFIGPTEvent2               Type = 0x8000000D
	EFIVariableAuthority       Type = 0x800000E0
)

var typeNames = map[Type]string{
	0x00000000: "EV_PREBOOT_CERT", 0x00000001: "EV_POST_CODE", 0x00000002: "EV_UNUSED", NoAction: "EV_NO_ACTION",
	Separator: "EV_SEPARATOR", Action: "EV_ACTION", EventTag: "EV_EVENT_TAG", 0x00000007: "EV_S_CRTM_CONTENTS",
	SCRTMVersion: "EV_S_CRTM_VERSION", 0x00000009: "EV_CPU_MICROCODE", 0x0000000A: "EV_PLATFORM_CONFIG_FLAGS",
	0x0000000B: "EV_TABLE_OF_DEVICES", 0x0000000C: "EV_COMPACT_HASH", IPL: "EV_IPL", 0x0000000E: "EV_IPL_PARTITION_DATA",
	0x0000000F: "EV_NONHOST_CODE", 0x00000010: "EV_NONHOST_CONFIG", 0x00000011: "EV_NONHOST_INFO",
	0x00000012: "EV_OMIT_BOOT_DEVICE_EVENTS", 0x00000013: "EV_POST_CODE2", 0x80000000: "EV_EFI_EVENT_BASE",
	EFIVariableDriverConfig: "EV_EFI_VARIABLE_DRIVER_CONFIG", EFIVariableBoot: "EV_EFI_VARIABLE_BOOT",
	EFIBootServicesApplication: "EV_EFI_BOOT_SERVICES_APPLICATION", EFIBootServicesDriver: "EV_EFI_BOOT_SERVICES_DRIVER",
	EFIRuntimeServicesDriver: "EV_EFI_RUNTIME_SERVICES_DRIVER", EFIGPTEvent: "EV_EFI_GPT_EVENT", EFIAction: "EV_EFI_ACTION",
	EFIPlatformFirmwareBlob: "EV_EFI_PLATFORM_FIRMWARE_BLOB", EFIHandoffTables: "EV_EFI_HANDOFF_TABLES",
	EFIPlatformFirmwareBlob2: "EV_EFI_PLATFORM_FIRMWARE_BLOB2", EFIHandoffTables2: "EV_EFI_HANDOFF_TABLES2",
	EFIVariableBoot2: "EV_EFI_VARIABLE_BOOT2", EFIGPTEvent2: "EV_EFI_GPT_EVENT2", 0x80000010: "EV_EFI_HCRTM_EVENT",
	EFIVariableAuthority: "EV_EFI_VARIABLE_AUTHORITY", 0x800000E1: "EV_EFI_SPDM_FIRMWARE_BLOB",
	0x800000E2: "EV_EFI_SPDM_FIRMWARE_CONFIG", 0x800000E3: "EV_EFI_SPDM_DEVICE_POLICY", 0x800000E4: "EV_EFI_SPDM_DEVICE_AUTHORITY",
}

// String is the TCG's name.
func (t Type) String() string {
	if name, ok := typeNames[t]; ok {
		return name
	}
	return fmt.Sprintf("EventType(%#08x)", uint32(t))
}

func (t Type) known() bool { _, ok := typeNames[t]; return ok }
