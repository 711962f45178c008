#include "kexue/kx_base.h"

const char *kx_status_name(kx_status_t status) {
    switch (status) {
#define KX_STATUS_CASE(name, value, text) \
    case name: return #name;
        KX_STATUS_TABLE(KX_STATUS_CASE)
#undef KX_STATUS_CASE
        default: return "KX_E_UNKNOWN";
    }
}

const char *kx_status_text(kx_status_t status) {
    switch (status) {
#define KX_STATUS_CASE(name, value, text) \
    case name: return text;
        KX_STATUS_TABLE(KX_STATUS_CASE)
#undef KX_STATUS_CASE
        default: return "unknown status";
    }
}

const char *kx_version(void) { return KX_VERSION_STRING; }
