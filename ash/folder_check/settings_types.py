"""The types of the CLI's settings: a value of another type makes it drop the whole file.

Read out of the CLI 2.1.329 with `claude doctor`; tests/folder_check/test_against_cli.py compares.
"""

_NAMES = {
    "string": (
        "advisorModel agent apiKeyHelper attributionProject autoMemoryDirectory "
        "awsAuthRefresh awsCredentialExport claudeMd gcpAuthRefresh language minimumVersion "
        "model otelHeadersHelper outputStyle plansDirectory pluginTrustMessage prUrlTemplate "
        "processWrapper proxyAuthHelper requiredMaximumVersion requiredMinimumVersion "
        "timeZone"
    ),
    "boolean": (
        "agentPushNotifEnabled allowAllClaudeAiMcps allowClaudeInChromeWithManagedMcp "
        "allowManagedHooksOnly allowManagedMcpServersOnly allowManagedPermissionRulesOnly "
        "allowNestedModelAccessUnderForceLogin alwaysThinkingEnabled autoCompactEnabled "
        "autoContinueAtUsageLimit autoDreamEnabled autoMemoryEnabled autoScrollEnabled "
        "autoUploadSessions awaySummaryEnabled bashEditDiffEnabled channelsEnabled "
        "clawdFileProgressEnabled disableAgentView disableAllHooks disableArtifact "
        "disableBundledSkills disableClaudeAiConnectors disableCommandPluginSources "
        "disableRemoteControl disableReplyCheck disableSideloadFlags "
        "disableSkillShellExecution disableWindowsBashCommandSplit disableWorkflows "
        "doneMeansMerged emojiCompletionEnabled enableAllProjectMcpServers enableArtifact "
        "enableWorkflows enforceAvailableModels fastMode fastModePerSessionOptIn "
        "fileCheckpointingEnabled forceRemoteSettingsRefresh idleCompaction "
        "includeCoAuthoredBy includeGitInstructions inputNeededNotifEnabled "
        "isolatePeerMachines precomputeCompactionEnabled prefersReducedMotion "
        "promptSuggestionEnabled remoteControlAtStartup respectGitignore "
        "respondToBashCommands responseComparisonEnabled showClearContextOnPlanAccept "
        "showMessageTimestamps showThinkingSummaries showTurnDuration "
        "skipDangerousModePermissionPrompt skipWebFetchPreflight skipWorkflowUsageWarning "
        "spinnerTipsEnabled switchModelsOnFlag syncClaudeAiPlugins syncClaudeAiSkills "
        "syntaxHighlightingDisabled terminalProgressBarEnabled terminalTitleFromRename "
        "todoFeatureEnabled totalTokensReminderAfterUserTurn verbose "
        "wheelScrollAccelerationEnabled workflowKeywordTriggerEnabled "
        "wslInheritsWindowsSettings"
    ),
    "number": (
        "cleanupPeriodDays desktopSessionCleanupPeriodDays feedbackSurveyRate "
        "skillListingBudgetFraction skillListingMaxDescChars totalTokensReminderBudget"
    ),
    "array": (
        "allowedChannelPlugins allowedHttpHookUrls availableModels blockedMarketplaces "
        "claudeMdExcludes companyAnnouncements fallbackModel httpHookAllowedEnvVars "
        "pluginSuggestionMarketplaces sshConfigs strictKnownMarketplaces"
    ),
    "object": (
        "breakReminder enabledPlugins env fileSuggestion modelOverrides pluginConfigs "
        "quietHours remote remoteTools sandbox skillOverrides spinnerVerbs statusLine voice "
        "worktree"
    ),
}

KINDS = {name: kind for kind, names in _NAMES.items() for name in names.split()}

# Numbers are 0 or more; these are whole, those are 1 at most.
WHOLE = frozenset(
    (
        "cleanupPeriodDays",
        "desktopSessionCleanupPeriodDays",
        "skillListingMaxDescChars",
        "totalTokensReminderBudget",
    )
)
SHARES = frozenset(("feedbackSurveyRate", "skillListingBudgetFraction"))

# What lists hold that don't hold strings.
OBJECT_LISTS = frozenset(
    ("allowedChannelPlugins", "blockedMarketplaces", "sshConfigs", "strictKnownMarketplaces")
)

# The types of what stands one level deeper.
MEMBERS = {
    "fileSuggestion": {"command": "string"},
    "sandbox": {
        "allowUnsandboxedCommands": "boolean",
        "enabled": "boolean",
        "excludedCommands": "array",
        "failIfUnavailable": "boolean",
    },
    "statusLine": {"command": "string"},
    "worktree": {"sparsePaths": "array"},
}

CHOICES = {
    "autoUpdatesChannel": ("latest", "stable", "rc"),
    "defaultShell": ("bash", "powershell"),
    "disableAutoMode": ("disable",),
    "feedbackDrafts": ("notify", "quiet", "off"),
    "totalTokensReminder": ("off", "infinite", "fixed", "countdown", "padded-countdown"),
    "tui": ("default", "fullscreen"),
    "workflowSizeGuideline": ("unrestricted", "small", "medium", "large"),
}

PERMISSION_MODES = (
    "acceptEdits",
    "auto",
    "bypassPermissions",
    "default",
    "dontAsk",
    "manual",
    "plan",
)

_EVENTS = (
    "PreToolUse PostToolUse PostToolUseFailure PostToolBatch Notification "
    "UserPromptSubmit UserPromptExpansion SessionStart SessionEnd Stop StopFailure "
    "SubagentStart SubagentStop PreCompact PostCompact PreModelSwitch PostModelSwitch "
    "PermissionRequest PermissionDenied Setup TeammateIdle TaskCreated TaskCompleted "
    "Elicitation ElicitationResult ConfigChange WorktreeCreate WorktreeRemove "
    "InstructionsLoaded CwdChanged FileChanged DirectoryAdded MessageDisplay"
)
HOOK_EVENTS = frozenset(_EVENTS.split())

# Keys that belong to the top of a settings file, beside those above.
OTHER_KEYS = frozenset(("$schema", "hooks", "permissions"))
